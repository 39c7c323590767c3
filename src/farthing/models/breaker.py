"""Leaves an upstream alone that keeps failing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

logger = logging.getLogger(__name__)

State = Literal["closed", "open", "half-open"]


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """When an upstream is left alone.

    Attributes:
        failures: so many calls in a row that failed open the breaker; 0 turns it off.
        share: so does this share of the calls that ended lately...
        calls: ...if they were at least so many...
        window_s: ...in the last seconds, from half of this to all of it.
        pause_s: seconds for which an open breaker lets no call through.
    """

    failures: int = 5
    share: float = 0.5
    calls: int = 20
    window_s: float = 30.0
    pause_s: float = 10.0


class Breaker:
    """Counts how the calls of one upstream end, and opens when too many fail.

    Closed, it lets all calls through. Open, it lets none through for `pause_s` seconds. Then it
    is half-open: one call, the probe, is let through, which closes it or opens it anew. Calls
    that began before its last change of state do not count.

    Args:
        name: of the upstream, for the log.
        clock: in seconds.
    """

    def __init__(
        self,
        rule: BreakerRule | None = None,
        *,
        name: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rule = rule or BreakerRule()
        self._name, self._clock = name, clock
        self._open = self._probing = False
        self._until = 0.0
        self._era = 0  # counts the changes of state, to tell calls of before
        self._row = 0
        self._recent, self._before = [0, 0], [0, 0]  # calls and failures, in halves of the window
        self._turn = clock()

    @property
    def state(self) -> State:
        """`half-open` from the end of the pause until the probe has ended."""
        if not self._open:
            return "closed"
        return "half-open" if self._probing or self._clock() >= self._until else "open"

    @property
    def wait_s(self) -> float:
        """Seconds until a call may be let through, 0 if one is; a probe's end is not foreseen."""
        if not self._open:
            return 0.0
        left = max(0.0, self._until - self._clock())
        return max(left, 1.0) if self._probing else left

    @property
    def is_ready(self) -> bool:
        """Whether `begin` lets a call through now."""
        return not self._open or (not self._probing and self._clock() >= self._until)

    def begin(self) -> int:
        """Let a call through, which `is_ready` has to allow; the number is to be given back."""
        if self._open:
            self._probing = True
        return self._era

    def end(self, began: int, failed: bool | None) -> None:
        """A call has ended; `failed` is None if that says nothing about the upstream."""
        if began != self._era or not self.rule.failures:
            return
        if self._open:
            self._probing = False
            if failed is not None:
                self._open_again() if failed else self._close()
            return
        if failed is None:
            return
        now = self._clock()
        if now - self._turn >= self.rule.window_s / 2:
            late = now - self._turn >= self.rule.window_s
            self._before, self._recent = [0, 0] if late else self._recent, [0, 0]
            self._turn = now
        self._recent[0] += 1
        if not failed:
            self._row = 0
            return
        self._recent[1] += 1
        self._row += 1
        calls, failures = (a + b for a, b in zip(self._recent, self._before, strict=True))
        many = calls >= self.rule.calls and failures >= self.rule.share * calls
        if many or self._row >= self.rule.failures:
            why = f"{failures} of {calls} calls failed" if many else f"{self._row} failed in a row"
            self._open_again()
            logger.warning("%s: %s; it is left alone for %g s", self._name, why, self.rule.pause_s)

    def _open_again(self) -> None:
        self._open, self._until = True, self._clock() + self.rule.pause_s
        self._era += 1

    def _close(self) -> None:
        logger.warning("%s: it answers again", self._name)
        self._open, self._era, self._row = False, self._era + 1, 0
        self._recent, self._before, self._turn = [0, 0], [0, 0], self._clock()
