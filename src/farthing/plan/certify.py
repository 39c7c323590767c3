"""The quality of a plan, or of a model, certified from a few labels and what a judge says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from farthing.core.errors import DataError
from farthing.models.recording import Floats, Ints, Recording
from farthing.plan.file import Plan
from farthing.plan.labels import Label
from farthing.plan.replay import replay_plan
from farthing.risk import betting, binomial
from farthing.risk.needed import exact_needed, powered_needed, scaled_needed
from farthing.risk.prediction_powered import Estimate, ppi_plus_mean
from farthing.risk.sequential_ppi import betting as betting_sequence

FEWEST = 30  # labels with which a judge is made use of
TELLING = 10  # labels unlike what the judge makes of them, with which it is

Guarantee = Literal["exact", "exact at all times", "asymptotic"]


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers whose quality is in question, one for each question that has one.

    Attributes:
        name: of the plan or the model.
        rows: of the recording's table, shape (questions,).
        left_out: questions of the recording that have no answer.
    """

    name: str
    rows: Ints
    left_out: int


@dataclass(frozen=True, slots=True)
class Certified:
    """What may be said of the mean quality.

    Attributes:
        name: of the plan or the model.
        estimator: by which the bounds were got.
        guarantee: "asymptotic" ones hold nearly, with many labels.
        confidence: of each bound by itself.
        quality: the estimate, 0 to 1.
        low, high: bounds, 0 to 1.
        labels: how many were used.
        judged: answers without a label whose judgement was used.
        effective: how many labels alone would estimate as well (estimated with a judge, else
            counted); None for a judge's share in sequential bounds.
        target: the quality asked for; None if none was.
        more_labels: how many more would settle the target if the estimate stayed as it is
            (modelled); 0 if it is settled, None without a target or where no number would.
        left_out: questions of the recording without an answer.
        note: why a judge was not made use of.
    """

    name: str
    estimator: str
    guarantee: Guarantee
    confidence: float
    quality: float
    low: float
    high: float
    labels: int
    judged: int
    effective: float | None
    target: float | None
    more_labels: int | None
    left_out: int
    note: str | None = None

    @property
    def verdict(self) -> Literal["met", "missed", "open"] | None:
        """Whether the quality is at least `target`; None without one."""
        if self.target is None:
            return None
        return "met" if self.low >= self.target else "missed" if self.high < self.target else "open"


def plan_answers(plan: Plan, recording: Recording, seed: int = 0) -> Answers:
    """The plan's own answers, by replay; raises what `replay_plan` raises."""
    table = recording.table
    if "correct" in table.column_names:
        table = table.drop_columns(["correct"])
    # The number of each row, told as how right its answer is, comes back with the answer.
    numbers = pa.array(np.arange(len(table), dtype=np.float64))
    numbered = replace(recording, table=table.append_column("correct", numbers))
    done = replay_plan(plan, numbered, seed=seed)
    rows = done.result.correct
    answered = ~np.isnan(rows)
    return Answers(
        f"plan {plan.name}",
        rows[answered].astype(np.int64),
        done.left_out + int((~answered).sum()),
    )


def model_answers(model: str, recording: Recording) -> Answers:
    """The first recorded answer of a model to each question; DataError for an unknown model."""
    start = recording.start[recording.model_index(model)]
    answered = np.diff(start) > 0
    return Answers(f"model {model}", start[:-1][answered], int((~answered).sum()))


def labelled(
    answers: Answers, recording: Recording, labels: Sequence[Label], path: str
) -> tuple[Ints, Floats]:
    """Which answers are labelled, in the order of the labels, and how right they are.

    Args:
        path: of the labels, for messages.

    Returns:
        indices into `answers.rows`, and labels of 0 to 1.

    Raises:
        DataError: naming file and line, for a question that the recording does not have; and
            where a question's labels are all of other answers, because leaving it out would
            favour the questions that one model answers.
    """
    names = recording.questions
    place = {names[q]: i for i, q in enumerate(_questions(recording)[answers.rows])}
    models = recording.table["model"].take(pa.array(answers.rows)).to_pylist()
    samples: list[int | None] = [None] * len(models)
    if "sample" in recording.table.column_names:
        samples = recording.table["sample"].take(pa.array(answers.rows)).to_pylist()
    known = set(names)
    found: dict[int, tuple[int, float]] = {}
    strange: dict[int, Label] = {}
    for label in labels:
        if label.question not in known:
            raise DataError(
                f"{path}:{label.line}: question {label.question!r} is not in {recording.path}, "
                f"whose questions are like {names[0]!r}"
            )
        at = place.get(label.question)
        if at is None:
            continue
        if label.model not in (None, models[at]) or label.sample not in (None, samples[at]):
            strange.setdefault(at, label)
        elif at in found:
            raise DataError(
                f"{path}:{label.line}: question {label.question!r} is labelled a second time; "
                f"first on line {found[at][0]}"
            )
        else:
            found[at] = label.line, label.correct
    for at, label in strange.items():
        if at not in found:
            raise DataError(
                f"{path}:{label.line}: question {label.question!r} is labelled, but not the answer "
                f"of {answers.name}, which is sample {samples[at]} of {models[at]}; label that one"
            )
    if not found:
        raise DataError(f"{path}: none of the labelled questions is answered by {answers.name}")
    return np.array(list(found), np.int64), np.array([value for _, value in found.values()])


def certify(
    answers: Answers,
    recording: Recording,
    labels: Sequence[Label],
    *,
    path: str = "labels",
    judge: str | None = None,
    confidence: float = 0.95,
    target: float | None = None,
    sequential: bool = False,
) -> Certified:
    """Bounds on the mean quality of answers to questions like those of the recording.

    Without a judge they are exact: binomial for labels of 0 and 1, by betting for others. With one,
    PPI++ if there are labels enough. `sequential` bounds hold however often one looks, and stop.

    Args:
        judge: a numeric column of the recording; on any scale if not `sequential`, from 0 to 1 if
            so. Unknown values count as the mean of the known ones.

    Raises:
        DataError: what `labelled` raises; for a judge that is no number, or not from 0 to 1.
    """
    chosen, y = labelled(answers, recording, labels, path)
    says = None if judge is None else _judged(answers, recording, judge, sequential)
    rest = np.setdiff1d(np.arange(len(answers.rows)), chosen)
    note = None
    powered: Estimate | None = None
    if says is not None:
        note = _too_few(len(y), len(rest))
    if says is not None and note is None:
        powered = ppi_plus_mean(y, says[chosen], says[rest])
        if powered.telling < TELLING and not sequential:
            powered = None
            note = f"the judge was not used: it takes {TELLING} labels unlike what it makes of them"
    delta = 1 - confidence
    quality, judged = float(y.mean()), 0
    effective: float | None = float(len(y))
    guarantee: Guarantee = "exact"
    if powered is not None and says is not None:
        quality = min(max(powered.value, 0.0), 1.0)
        effective, judged = None if sequential else powered.effective, len(rest)
    if sequential:
        pool = None if powered is None else says
        use = None if pool is None else pool[chosen]
        found = betting_sequence(y, use, pool, 1 - 2 * delta)
        low, high = float(found.low[-1]), float(found.high[-1])
        estimator, guarantee = "betting" + (" with a judge" if judged else ""), "exact at all times"
        more = scaled_needed(len(y), quality, low, high, target)
    elif powered is not None and says is not None:
        low, high = (
            powered.interval(confidence, "lower")[0],
            powered.interval(confidence, "upper")[1],
        )
        estimator, guarantee = "PPI++", "asymptotic"
        more = powered_needed(powered, low, high, confidence, target)
    elif np.isin(y, (0.0, 1.0)).all():
        low, high = binomial.interval(int(y.sum()), len(y), 1 - 2 * delta)
        estimator, more = "binomial", exact_needed(int(y.sum()), len(y), delta, target)
    else:
        # Bets are made in an order that has nothing to do with the labels, a file's may.
        shuffled = np.random.default_rng(0).permutation(y)
        low, high = betting.interval(shuffled, 1 - 2 * delta)
        estimator, more = "betting", scaled_needed(len(y), quality, low, high, target)
    return Certified(
        answers.name,
        estimator,
        guarantee,
        confidence,
        quality,
        max(low, 0.0),
        min(high, 1.0),
        len(y),
        judged,
        effective,
        target,
        more,
        answers.left_out,
        note,
    )


def as_json(found: Certified) -> dict[str, Any]:
    """What `farthing certify --json` prints; unknown is None."""
    return {
        "name": found.name,
        "quality_at_least": found.low,
        "quality_at_most": found.high,
        "confidence": found.confidence,
        "quality": found.quality,
        "estimator": found.estimator,
        "guarantee": found.guarantee,
        "labels": found.labels,
        "judged": found.judged,
        "effective_labels": found.effective,
        "effective_labels_basis": (
            None if found.effective is None else "estimated" if found.judged else "counted"
        ),
        "target": found.target,
        "verdict": found.verdict,
        "more_labels": found.more_labels,
        "more_labels_basis": "modelled",
        "left_out": found.left_out,
        "note": found.note,
    }


def _questions(recording: Recording) -> Ints:
    """The index of each row's question."""
    counts = np.diff(recording.start, axis=1)
    return np.concatenate([np.repeat(np.arange(len(row)), row) for row in counts])


def _judged(answers: Answers, recording: Recording, judge: str, bounded: bool) -> Floats:
    values = recording.floats(judge)[answers.rows]
    known = np.isfinite(values)
    if not known.any():
        raise DataError(f"{recording.path}: column {judge!r} has no value for {answers.name}")
    if bounded and not ((values[known] >= 0) & (values[known] <= 1)).all():
        raise DataError(
            f"{recording.path}: column {judge!r} has values outside 0 to 1; --sequential needs a "
            "judge on that scale"
        )
    return np.where(known, values, values[known].mean())


def _too_few(labels: int, rest: int) -> str | None:
    """Why a judge cannot be made use of, if so."""
    if rest < 2:
        return "the judge was not used: no answers without a label"
    if labels < FEWEST:
        return f"the judge was not used: it takes {FEWEST} labels"
    return None
