"""From a signal's kind and parameters, as a plan file holds them, to the signal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from farthing.core.errors import ParamError
from farthing.signals.agreement import Agreement
from farthing.signals.belief import Belief
from farthing.signals.beta import BetaMajority
from farthing.signals.calibrated import Calibrated
from farthing.signals.column import Column
from farthing.signals.judge import Judge
from farthing.signals.learned import Learned
from farthing.signals.logprob import LogProb
from farthing.signals.mixed import Mixed
from farthing.signals.self_report import SelfReport
from farthing.signals.semantic import Semantic
from farthing.signals.signal import Signal
from farthing.signals.verification import Verification

SIGNALS: dict[str, Any] = {
    signal.kind: signal
    for signal in (
        Agreement,
        Belief,
        BetaMajority,
        Calibrated,
        Column,
        Judge,
        Learned,
        LogProb,
        Mixed,
        SelfReport,
        Semantic,
        Verification,
    )
}


def from_params(table: dict[str, Any]) -> Signal:
    """The signal of the table's `kind` with its other entries as parameters.

    Raises ParamError if there is no such kind, or for parameters that do not fit.
    """
    params = dict(table)
    kind = params.pop("kind", None)
    if kind not in SIGNALS:
        raise ParamError(
            f"no signal is called {kind!r}; known: {', '.join(SIGNALS)}", place=("signal", "kind")
        )
    try:
        built: Signal = SIGNALS[kind].from_params(params)
    except (TypeError, ValueError, KeyError) as error:
        raise ParamError(f"signal {kind!r} cannot be built: {error}", place=("signal",)) from error
    return built


def signals_in(signal: Signal) -> Iterator[Signal]:
    """The signal and all that it looks at."""
    yield signal
    inner = getattr(signal, "signal", None)
    for part in (*getattr(signal, "signals", ()), *((inner,) if inner is not None else ())):
        yield from signals_in(part)
