"""The same work on several things, in processes of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import TypeVar

from farthing.signals.learning import one_thread

T = TypeVar("T")
Progress = Callable[[str, int, int], None]
"""Told the name at hand, how many are done, and of how many."""


def for_each(
    names: Sequence[str],
    call: Callable[[str], T],
    *,
    jobs: int = 1,
    progress: Progress = lambda name, done, total: None,
) -> list[T]:
    """What `call` returns for each name, in their order; in `jobs` processes if more than one.

    `call` must then be picklable, as a `functools.partial` of a module's function is.
    """
    if jobs < 2 or len(names) < 2:
        found = []
        with one_thread():
            for place, name in enumerate(names):
                progress(name, place, len(names))
                found.append(call(name))
        progress("", len(names), len(names))
        return found
    done: dict[str, T] = {}
    with ProcessPoolExecutor(
        min(jobs, len(names)), get_context("spawn"), initializer=_prepare
    ) as pool:
        tasks = {pool.submit(call, name): name for name in names}
        progress(names[0], 0, len(names))
        for task in as_completed(tasks):
            done[tasks[task]] = task.result()
            progress(tasks[task], len(done), len(names))
    return [done[name] for name in names]


def _prepare() -> None:
    """Make a process one that ends with the one that began it, however that ends."""
    one_thread()
    if (parent := parent_process()) is not None:
        Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
