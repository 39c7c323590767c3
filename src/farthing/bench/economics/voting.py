"""Whether the majority of k answers is worth its price, from recordings with several samples.

A vote costs k attempts, and can be right less often than an attempt where most attempts are
wrong. Against it stands asking again until an answer passes, which is what cost-of-pass prices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from farthing.bench.economics.cost_of_pass import Figure, Human, Verdict, verdict
from farthing.bench.economics.recorded import Recorded
from farthing.bench.economics.study import RESAMPLES, ratio
from farthing.models.recording import Floats, Ints
from farthing.risk.bootstrap import corrected_interval, resampled_means
from farthing.signals.vote import Vote

SIZES = (3, 5, 9, 21)
DRAWS = 20


@dataclass(frozen=True, slots=True)
class Voted:
    """The vote of k answers of one model.

    Attributes:
        model: its name.
        votes: k.
        questions: with at least k samples, all of whose correctness and cost is known.
        single, voted: share right of one answer, and of the vote.
        gain: their difference.
        single_cost_of_pass, cost_of_pass: USD for one right answer.
        with_human: USD that the vote saves for each question, if a human does what is dearer
            otherwise; negative if it wastes.
        verdict: on `cost_of_pass` against the single answer's: does the vote buy right answers
            for less?
        verdict_with_human: on `with_human`.
    """

    model: str
    votes: int
    questions: int
    single: float
    voted: float
    gain: Figure
    single_cost_of_pass: Figure
    cost_of_pass: Figure
    with_human: Figure
    verdict: Verdict | None
    verdict_with_human: Verdict | None


def votes(
    study: Recorded, human: Human, sizes: Sequence[int] = SIZES, seed: int = 0
) -> list[Voted]:
    """Every model that has several samples, at every size that most of its questions allow."""
    found = []
    for model in range(len(study.entries)):
        for size in sizes:
            enough = study.counts[model] >= size
            if enough.sum() * 2 <= (study.counts[model] > 0).sum():
                break
            voted = _vote(study, model, np.flatnonzero(enough), size, human, seed)
            if voted is not None:
                found.append(voted)
    return found


def _vote(
    study: Recorded, model: int, questions: Ints, size: int, human: Human, seed: int
) -> Voted | None:
    cells = study.cells
    known = ~np.isnan(cells.cost[model, questions]) & ~np.isnan(cells.passed[model, questions])
    questions = questions[known]
    if len(questions) < 2:
        return None
    cost, single = cells.cost[model, questions], cells.passed[model, questions]
    voted = _right(study, model, questions, size, seed)
    once = np.minimum(ratio(cost, single), human.cost_of_pass)
    often = np.minimum(ratio(size * cost, voted), human.cost_of_pass)
    saved = once - often
    means = resampled_means(np.stack([cost, single, voted, saved], axis=1), RESAMPLES, seed)
    price = ratio(means[:, 0], means[:, 1])
    voted_price = ratio(size * means[:, 0], means[:, 2])
    whole = float(cost.mean()), float(single.mean()), float(voted.mean())
    costs, rights = np.array([whole[0], size * whole[0]]), np.array([whole[1], whole[2]])
    before, after = ratio(costs, rights).tolist()
    with np.errstate(invalid="ignore"):
        cheaper = price - voted_price
    worth = _figure(float(saved.mean()), means[:, 3])
    return Voted(
        study.entries[model].model,
        size,
        len(questions),
        whole[1],
        whole[2],
        _figure(whole[2] - whole[1], means[:, 2] - means[:, 1]),
        _figure(before, price),
        _figure(after, voted_price),
        worth,
        verdict(corrected_interval(before - after, cheaper)),
        verdict(worth.interval),
    )


def _right(study: Recorded, model: int, questions: Ints, size: int, seed: int) -> Floats:
    """The chance that the vote of `size` random samples is right, for each question."""
    rng = np.random.default_rng(seed)
    start = study.recording.start[model]
    answers = study.recording.column("answer")
    found = np.empty(len(questions))
    for place, question in enumerate(questions):
        begin, count = int(start[question]), int(start[question + 1] - start[question])
        given = [None if a is None else str(a) for a in answers.slice(begin, count).to_pylist()]
        worth: dict[str | None, float] = {None: 0.0}
        right = study.passed[begin : begin + count]
        for answer in {answer for answer in given if answer is not None}:
            marks = [r for a, r in zip(given, right, strict=True) if a == answer]
            worth[answer] = float(np.nanmean(marks)) if not np.isnan(marks).all() else 0.0
        total = 0.0
        for _ in range(DRAWS):
            drawn = rng.permutation(count)[:size]
            total += worth[Vote(size, (given[d] for d in drawn)).winner]
        found[place] = total / DRAWS
    return found


def _figure(value: float, drawn: Floats) -> Figure:
    return Figure(value, corrected_interval(value, drawn))
