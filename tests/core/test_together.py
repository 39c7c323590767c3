"""Several things done at once."""

import asyncio

import pytest

from farthing.core.together import together


async def _after(steps: int, value: str) -> str:
    for _ in range(steps):
        await asyncio.sleep(0)
    return value


async def test_results_come_in_the_order_of_the_questions():
    assert await together(_after(steps, str(steps)) for steps in (3, 1, 2)) == ["3", "1", "2"]
    assert await together([]) == []


async def test_the_first_error_is_raised_and_the_others_are_cancelled():
    ended = []

    async def fail() -> str:
        await asyncio.sleep(0)
        raise KeyError("lost")

    async def wait() -> str:
        try:
            return await _after(1000, "late")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    with pytest.raises(KeyError, match="lost") as raised:
        await together([wait(), fail(), wait()])
    assert ended == ["cancelled", "cancelled"]
    assert raised.value.__suppress_context__


async def test_whoever_waits_can_be_cancelled():
    task = asyncio.ensure_future(together([_after(1000, "a"), _after(1000, "b")]))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
