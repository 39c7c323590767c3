"""All measures of one study, for people and for machines."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from farthing.bench.economics.cost_of_pass import (
    Frontier,
    Human,
    Standing,
    frontier,
    standings,
)
from farthing.bench.economics.effort import Length, Step, lengths, steps
from farthing.bench.economics.pricing import Listed, Mix, listed
from farthing.bench.economics.ranking import Ranking, ranking
from farthing.bench.economics.recorded import Recorded
from farthing.bench.economics.reversal import Reversal, reversal
from farthing.bench.economics.study import Study
from farthing.bench.economics.voting import Voted, votes
from farthing.core.money import Cost
from farthing.core.protocols import ModelCard
from farthing.cost import PriceBook


@dataclass(frozen=True, slots=True)
class Economics:
    """What one study says of its models.

    Attributes:
        source: as the user named it.
        questions: how many; None from a table.
        mix: of tokens in a listed price.
        prices: for each model what it lists; None if nobody knows.
    """

    source: str
    questions: int | None
    human: Human
    mix: Mix
    prices: tuple[Listed | None, ...]
    standings: tuple[Standing, ...]
    frontier: Frontier
    votes: tuple[Voted, ...]
    reversal: Reversal
    ranking: Ranking
    lengths: tuple[Length, ...]
    steps: tuple[Step, ...]


PARTS = 6


def economics(
    study: Study,
    *,
    human: Human | None = None,
    without: Sequence[str] = (),
    before: Sequence[str] = (),
    book: PriceBook | None = None,
    card_of: Callable[[str], ModelCard] | None = None,
    mix: Mix | None = None,
    weights: Mapping[str, float] | None = None,
    progress: Callable[[str, int], object] = lambda name, done: None,
) -> Economics:
    """Every measure of the study.

    Args:
        human: who is hired where models fail (20 USD, always right).
        without: classes of models, or patterns of their names, for counterfactual frontiers.
        before: dates (ISO), likewise.
        book, card_of: where listed prices come from, see `pricing.listed`.
        mix: of tokens in a listed price (3:1).
        weights: of the ranking's criteria (all alike).
        progress: called with the name and number of each part before it is made.

    Raises DataError for classes that nobody belongs to, and for weights that cannot be used.
    """
    human, mix, book = human or Human(), mix or Mix(), book or PriceBook()
    progress("standings", 0)
    found = standings(study, human)
    progress("frontier", 1)
    best = frontier(study, human, without=without, before=before)
    progress("votes", 2)
    voted = votes(study, human) if isinstance(study, Recorded) else []
    ranked = ranking(found, voted, weights)
    progress("prices", 3)
    cards = {} if card_of is None else {"card_of": card_of}
    prices = tuple(listed(entry, book, mix, **cards) for entry in study.entries)
    turned = reversal(study, prices)
    progress("lengths", 4)
    long = lengths(study)
    progress("effort", 5)
    return Economics(
        study.source,
        len(study.questions) if study.by_question else None,
        human,
        mix,
        prices,
        tuple(found),
        best,
        tuple(voted),
        turned,
        ranked,
        tuple(long),
        tuple(steps(study)),
    )


def as_json(found: Economics) -> dict[str, Any]:
    """What `farthing economics --json` prints: unknown is null, infinite is "infinite"."""
    made: dict[str, Any] = _plain(found)
    for standing in made["standings"]:
        standing["model"] = standing["entry"]["model"]
    for price, standing in zip(made.pop("prices"), made["standings"], strict=True):
        standing["listed"] = price
    made["mix"] = str(found.mix)
    return made


def _plain(value: Any) -> Any:
    if isinstance(value, Cost):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "infinite" if value > 0 else "-infinite"
    return value
