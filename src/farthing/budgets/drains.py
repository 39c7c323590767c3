"""Calls that go on after whoever wanted the answer has left, because they are billed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Drains:
    """Tasks that outlive their caller, held until they are done."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(
        self, work: Coroutine[Any, Any, T], then: Callable[[asyncio.Task[T]], None] | None = None
    ) -> asyncio.Task[T]:
        """Run `work` as a task that cannot be lost; it sees to its own errors.

        `then` is called with the task once it is done.
        """

        def done(task: asyncio.Task[T]) -> None:
            self._done(task)
            if then is not None:
                then(task)

        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(done)
        return task

    def limit(self, task: asyncio.Task[Any], seconds: float) -> None:
        """Cancel `task` if it is not done in `seconds`, telling it why."""
        reason = f"not read to its end within {seconds:g} s"
        timer = asyncio.get_running_loop().call_later(seconds, task.cancel, reason)
        task.add_done_callback(lambda _: timer.cancel())

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # taken, since there may be nobody left whom it concerns

    async def wait(self, seconds: float | None = None) -> int:
        """Wait until all are done, at most `seconds`, then cancel the rest.

        Returns the number of those that were cancelled; they are booked as they stand.
        """
        if not self._tasks:
            return 0
        _, late = await asyncio.wait(set(self._tasks), timeout=seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return len(late)


drains = Drains()
"""The process's own."""


async def drain_all(seconds: float | None = None) -> int:
    """`drains.wait(seconds)`: for a server's shutdown, before it closes the ledger."""
    return await drains.wait(seconds)
