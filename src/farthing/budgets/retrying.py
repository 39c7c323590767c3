"""When a call that failed is made again, and where."""

from __future__ import annotations

import random
from time import perf_counter
from typing import Any

from farthing.budgets.attempt import Attempt
from farthing.core.errors import RestingError, UpstreamError
from farthing.core.protocols import Kind, Model, ModelCard, Upstream
from farthing.core.request import Request

FIRST_S, MOST_S = 0.5, 8.0
_KINDS = frozenset({"unreachable", "cut"})
_STATUSES = frozenset({408, 429})


def is_retried(error: UpstreamError) -> bool:
    """Whether the same call may do better a little later.

    That is so for an upstream that could not be reached, closed its connection, or answered with
    status 408, 429 or one of 500 and above. It is not for what the client must change, for an
    answer that cannot be read, and for one that took longer than `timeout_s`: that is paid for.
    """
    if isinstance(error, RestingError):
        return False
    if error.kind == "status":
        status = error.status or 0
        return status in _STATUSES or status >= 500
    return error.kind in _KINDS


def retry_delay(
    card: ModelCard,
    error: UpstreamError,
    done: int,
    *,
    elsewhere: bool = False,
    draw: float | None = None,
) -> float | None:
    """Seconds to wait before a call is made again; None if it is not.

    The wait before the first retry is up to `FIRST_S`, and doubles with each up to `MOST_S`; it is
    drawn uniformly from the upper half, so that clients who failed together do not come back
    together. An upstream that says when it wants to be asked again is not asked before that, and
    not at all if that is more than the card's `retry_after_max_s` away.

    Args:
        done: retries that were made already.
        elsewhere: whether there is another upstream, not tried yet, which need not be waited for.
        draw: from 0 to 1, in place of a random number.
    """
    if done >= card.retries or not is_retried(error):
        return None
    if elsewhere:
        return 0.0
    most = min(MOST_S, FIRST_S * 2.0 ** min(done, 10))
    wait = most * (1 + (random.random() if draw is None else draw)) / 2
    told = error.retry_after_s
    if told is None:
        return wait
    return max(told, wait) if told <= card.retry_after_max_s else None


class Tries:
    """The failed calls of one model for one request.

    Attributes:
        tried: labels of the upstreams that failed.
    """

    def __init__(self, model: Any, started: float) -> None:
        """`started` is when the first call began, on the clock of `time.perf_counter`."""
        self._model, self._card = model, model.card
        total = self._card.total_timeout_s
        self._deadline = None if total is None else started + total
        self._done = 0
        self.tried: set[str] = set()

    def after(self, error: UpstreamError, upstream: str | None) -> float | None:
        """Seconds to wait after one more failure, of `upstream`; None if that was the last try."""
        if upstream is not None:
            self.tried.add(upstream)
        has_other = getattr(self._model, "has_other", None)
        elsewhere = has_other is not None and has_other(self.tried)
        wait = retry_delay(self._card, error, self._done, elsewhere=elsewhere)
        if wait is None or (self._deadline is not None and perf_counter() + wait > self._deadline):
            return None
        self._done += 1
        return wait


def too_late(card: ModelCard) -> UpstreamError:
    """The error of a call that took longer, with its retries, than the card allows."""
    return UpstreamError(
        f"model {card.name!r}: no whole answer within total_timeout_s = {card.total_timeout_s:g} "
        "with all retries",
        model=card.name,
        kind="timeout",
    )


def again(kind: Kind) -> Kind:
    """What a call is for that is made again: of a judgement no answer comes all the same."""
    return kind if kind == "judge" else "retry"


def route(model: Model, request: Request, attempt: Attempt, tries: Tries | None) -> Model:
    """Where to call `model` now: one of its upstreams, if it has several, or the model itself."""
    choose = getattr(model, "route", None)
    if choose is None:
        return model
    upstream: Upstream = choose(request, tries.tried if tries else ())
    attempt.upstream = upstream.label or None
    return upstream
