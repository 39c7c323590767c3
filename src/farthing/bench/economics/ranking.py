"""Models in one ranking by several criteria, in the manner of PeRFICS (Shashidhar et al., 2023).

The criteria are quality, what a second try adds to it, and cost. Each is brought to 0 (the worst
model) to 1 (the best); costs on a logarithmic scale, since prices differ by powers of ten. A score
is their mean by stated weights. Weights are a matter of taste: the sensitivity says how much.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from farthing.bench.economics.cost_of_pass import Standing
from farthing.bench.economics.voting import Voted
from farthing.core.errors import DataError
from farthing.models.recording import Floats
from farthing.risk.simplex import first_shares

CRITERIA = ("quality", "gain", "cost")


@dataclass(frozen=True, slots=True)
class Ranked:
    """One model in the ranking.

    Attributes:
        model: its name.
        score: 0 to 1.
        criteria: each brought to 0 to 1, more is better.
        first: share of all weightings by which it is the first.
    """

    model: str
    score: float
    criteria: dict[str, float]
    first: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """The ranking, best first.

    Attributes:
        weights: of the criteria in use, adding up to 1.
        gain_of: what the criterion "gain" is; None if it is not known of all models.
        left_out: models of which quality or cost is unknown, or whose cost is zero.
    """

    weights: dict[str, float]
    gain_of: str | None
    models: tuple[Ranked, ...]
    left_out: tuple[str, ...]


def parse_weights(text: str) -> dict[str, float]:
    """`quality=2,gain=1,cost=1`; those not named weigh nothing. DataError if it is not such."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        try:
            weight = float(value)
        except ValueError:
            weight = math.nan
        if name not in CRITERIA or name in found or not 0 <= weight < math.inf:
            raise DataError(
                f"weights {text!r}: {part.strip()!r}: want each of {', '.join(CRITERIA)} at most "
                "once, with a number that is not negative, such as quality=2,cost=1"
            )
        found[name] = weight
    if not sum(found.values()):
        raise DataError(f"weights {text!r}: all of them are zero")
    return found


def ranking(
    standings: Sequence[Standing],
    voted: Sequence[Voted] = (),
    weights: Mapping[str, float] | None = None,
) -> Ranking:
    """Rank the models whose quality and cost are known.

    The gain takes part if it is known of all of them: that of the second try in a table, else that
    of the largest vote that all have.
    """
    chosen = [s for s in standings if s.passed.value is not None and s.cost.value]
    left_out = tuple(s.entry.model for s in standings if s not in chosen)
    gains, gain_of = _gains(chosen, voted)
    names = [name for name in CRITERIA if name != "gain" or gains is not None]
    wanted = {name: (weights or dict.fromkeys(CRITERIA, 1.0)).get(name, 0.0) for name in names}
    if weights and weights.get("gain") and gains is None:
        raise DataError(
            "weights: the gain is not known of all models; it takes first_pass_rate in a table, "
            "or three samples of each question in a recording"
        )
    total = sum(wanted.values())
    if not chosen:
        return Ranking(wanted, gain_of, (), left_out)
    columns = {
        "quality": np.array([s.passed.value for s in chosen], float),
        "cost": -np.log(np.array([s.cost.value for s in chosen], float)),
    }
    if gains is not None:
        columns["gain"] = gains
    table = np.stack([_scaled(columns[name]) for name in names], axis=1)
    shares = {name: weight / total for name, weight in wanted.items()}
    scores = table @ np.array(list(shares.values()))
    first = first_shares(table)
    found = [
        Ranked(
            s.entry.model,
            float(scores[place]),
            dict(zip(names, map(float, table[place]), strict=True)),
            float(first[place]),
        )
        for place, s in enumerate(chosen)
    ]
    return Ranking(shares, gain_of, tuple(sorted(found, key=lambda one: -one.score)), left_out)


def _gains(chosen: Sequence[Standing], voted: Sequence[Voted]) -> tuple[Floats | None, str | None]:
    tries = [
        s.passed.value - s.entry.first_pass
        for s in chosen
        if s.entry.first_pass is not None and s.passed.value is not None
    ]
    if chosen and len(tries) == len(chosen):
        return np.array(tries), "a second try"
    for size in sorted({v.votes for v in voted}, reverse=True):
        gains = {v.model: v.gain.value for v in voted if v.votes == size}
        if chosen and all(s.entry.model in gains for s in chosen):
            return np.array([gains[s.entry.model] for s in chosen], float), f"a vote of {size}"
    return None, None


def _scaled(values: Floats) -> Floats:
    """0 for the least to 1 for the largest; 1 for all if they are equal."""
    low, high = values.min(), values.max()
    return np.ones(len(values)) if high == low else (values - low) / (high - low)
