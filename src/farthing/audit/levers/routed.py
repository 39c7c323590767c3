"""What routing saves, measured on a recording of the same models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from farthing.audit.findings import Findings
from farthing.audit.levers.lever import Lever
from farthing.bench import figures
from farthing.bench.policies import bench
from farthing.core.errors import DataError
from farthing.core.money import Cost
from farthing.models.recording import Recording

METHOD = "c3po"


@dataclass(frozen=True, slots=True)
class Routed:
    """What a cascade saved on a recording, where it was as good as the best model.

    Attributes:
        path: the recording.
        best: its best model, whose lines in a log the share is taken of.
        share, interval: of the best model's cost; 95 % interval by bootstrap.
        questions: how many were judged.
    """

    path: str
    best: str
    share: float
    interval: tuple[float, float]
    questions: int

    @classmethod
    def measure(cls, recording: Recording) -> Routed:
        """By nested cross-validation; DataError if the recording is too small or has no marks."""
        if (
            "correct" not in recording.table.column_names
            or np.isnan(recording.floats("correct")).all()
        ):
            raise DataError(
                f"{recording.path}: routing is measured on graded answers, and it has none"
            )
        found = bench(recording, methods=(METHOD,))
        row = next(row for row in figures.rows(found) if row.name == METHOD)
        if row.saving is None or row.saving_interval is None:
            raise DataError(f"{recording.path}: no saving can be measured: {row.skipped}")
        return cls(
            recording.path,
            found.models[-1],
            row.saving,
            row.saving_interval,
            found.draw.questions,
        )

    def lever(self, findings: Findings) -> Lever:
        """The share of what the best model cost in the log; nothing if it has no such model."""
        sum_ = findings.models.get(self.best)
        spent = Cost(0) if sum_ is None else sum_.spent
        low, high = self.interval
        significant = low > 0
        return Lever(
            "routing",
            "routing, as measured on a recording",
            _part(spent, low),
            _part(spent, self.share) if significant else Cost(0),
            _part(spent, high),
            "measured",
            f"what {self.best} is asked is like the {self.questions:,} questions of "
            f"{Path(self.path).name}, on which a cascade that was as good, as far as it could "
            "know, cost so much less. 95 % interval",
            0 if sum_ is None else sum_.lines,
            ""
            if sum_ is not None and significant
            else "not significant, hence none"
            if sum_ is not None
            else f"the log has no model {self.best!r}",
        )


def _part(spent: Cost, share: float) -> Cost:
    return Cost(round(max(0.0, share) * spent.pico))
