"""Variants of one model in a recording: the same model asked with more or less effort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from farthing.core.errors import DataError
from farthing.models.arrow import pc
from farthing.models.recording import Recording

LEVELS = ("low", "medium", "high")
"""Of effort, by the names that all kinds of upstreams know: 0, 0.5 and 1."""

FAMILY = "base_model"
"""The column that is equal for the variants of one model, unless another is told."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A model of a recording, as one of a family.

    Attributes:
        family: the model that all of them are.
        effort: with which this one was asked: 0 to 1, or tokens, as the recording has it.
    """

    family: str
    effort: float


def variants(
    recording: Recording, models: Sequence[str], effort: str, family: str = FAMILY
) -> dict[str, Variant]:
    """The variant that each of these models of the recording is, by its name.

    Raises DataError where a column is missing, differs between rows of one model, or tells
    no effort.
    """
    told, families = labels(recording, models, effort), labels(recording, models, family)
    return {
        model: Variant(str(one), effort_of(value, recording, effort))
        for model, one, value in zip(models, families, told, strict=True)
    }


def labels(recording: Recording, models: Sequence[str], name: str) -> list[object]:
    """A column's value for each of these models.

    DataError where it is missing, null, or not one for all rows of a model.
    """
    column = recording.column(name)
    found = []
    for model in models:
        place = recording.model_index(model)
        begin, end = int(recording.start[place, 0]), int(recording.start[place, -1])
        distinct = pc.unique(column.slice(begin, end - begin)).to_pylist()
        if len(distinct) != 1 or distinct[0] is None:
            raise DataError(
                f"{recording.path}: column {name!r} of model {model!r} has "
                f"{len(distinct)} values, want one for all its rows"
            )
        found.append(distinct[0])
    return found


def effort_of(value: object, recording: Recording, name: str) -> float:
    """The effort that a column's value tells: a number, or low, medium or high.

    DataError for anything else.
    """
    if isinstance(value, int | float):
        return float(value)
    if value in LEVELS:
        return LEVELS.index(str(value)) / (len(LEVELS) - 1)
    raise DataError(
        f"{recording.path}: column {name!r} holds {value!r}, want a number, or {', '.join(LEVELS)}"
    )
