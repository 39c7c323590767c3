"""GPT-3.5 under several prompts before GPT-4, on recorded answers to date questions.

`python benchmarks/mot_date.py DIR` asks: how much of the accuracy of GPT-4's self-consistency
does a cascade keep, at which share of its cost? Plans are made
on a random half, measured on the other.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from _common import environment, markdown, recordings
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from farthing.core.errors import InfeasibleError
from farthing.core.money import Cost
from farthing.models.draw import Draw, draw
from farthing.models.recording import Recording, load_recording
from farthing.plan import Promise
from farthing.plan.calibrate import calibrate
from farthing.plan.evaluate import Result, apply, apply_candidate, single
from farthing.plan.outcomes import Outcomes
from farthing.plan.search import Candidate
from farthing.risk.bootstrap import resampled_means

SIGNAL = "pooled-agreement"
STRONGEST = "gpt-4@sc/cot1"
# Between what all samples of GPT-3.5 cost and the least that GPT-4 costs: whoever asks GPT-4
# violates, so that alpha bounds the share of questions that reach it.
BUDGET = "0.04"
ACCURACY, SHARE, MARGIN = 0.98, 0.60, 0.05

KINDS = {
    "cot1": "gpt-3.5-turbo@t0.4/cot1",
    "cot2": "gpt-3.5-turbo@t0.4/cot2",
    "pot1": "gpt-3.5-turbo@t0.4/pot1",
    "pot2": "gpt-3.5-turbo@t0.4/pot2",
    "pot1*": "gpt-3.5-turbo@unnamed/pot1",
}


@dataclass(frozen=True)
class Setup:
    """Prompt kinds of GPT-3.5 in turn, samples of each, and alpha."""

    kinds: tuple[str, ...]
    samples: int
    alpha: float

    def draw(self, recording: Recording, seed: int) -> Draw:
        """The samples, GPT-4's three last."""
        models = [*(KINDS[kind] for kind in self.kinds), STRONGEST]
        return draw(recording, models, [self.samples] * len(self.kinds) + [3], seed)

    @property
    def row(self) -> list[str]:
        """As cells of a table."""
        return [" + ".join(self.kinds), str(self.samples), f"{self.alpha:g}"]


def setups(kinds: Sequence[tuple[str, ...]]) -> list[Setup]:
    """All that a choice is made among."""
    return [Setup(*row) for row in itertools.product(kinds, (3, 5, 8), (0.3, 0.4, 0.45))]


ONE = [("cot1",), ("cot2",), ("pot1",), ("pot2",)]
TWO = [("cot1", "pot1"), ("cot2", "pot2"), ("cot1", "pot2"), ("cot2", "pot1")]
UNNAMED = [("pot1*",), ("cot1", "pot1*"), ("cot2", "pot1*")]
CHOICES = {
    "one prompt kind": setups(ONE),
    "two prompt kinds": setups(TWO),
    "two, or with pot1*": setups([*TWO, *UNNAMED]),
}
FIXED = [
    Setup(kinds, samples, 0.4)
    for kinds in [*ONE, *TWO, ("cot1", "cot2", "pot1"), *UNNAMED]
    for samples in (3, 5)
]


@dataclass(frozen=True)
class Held:
    """A plan and GPT-4 on the held-out questions: their indices, and four columns.

    The columns: the plan right, GPT-4 right, the plan's cost, GPT-4's cost.
    """

    questions: NDArray[np.int64]
    columns: NDArray[np.float64]


@cache
def whole(path: Path) -> Recording:
    """The recording, read once in each process."""
    return load_recording(path)


def plan(recording: Recording, setup: Setup, seed: int) -> tuple[Candidate, float] | None:
    """The cascade planned on a recording and its cost beside GPT-4's there; None if refused."""
    drawn = setup.draw(recording, seed)
    promise = Promise(Cost.from_usd(BUDGET), setup.alpha)
    try:
        chosen = calibrate(drawn, promise, signal=SIGNAL, seed=seed).chosen
    except InfeasibleError:
        return None
    strongest = single(Outcomes(drawn, SIGNAL), len(drawn.models) - 1)
    return chosen, chosen.cost / float(strongest.cost.sum())


def columns(outcomes: Outcomes, result: Result) -> NDArray[np.float64]:
    """See `Held`."""
    strongest = single(outcomes, len(outcomes.draw.models) - 1)
    cells = [result.correct, strongest.correct, result.cost / 1e12, strongest.cost / 1e12]
    return np.stack(cells, axis=1)


def run_split(path: Path, seed: int) -> dict[str | Setup, Held]:
    """All setups, and the choices among them that the planning half makes without labels."""
    recording = whole(path)
    order = np.random.default_rng(seed).permutation(len(recording.questions))
    half = len(order) // 2
    mine, other = (recording.select(part) for part in (order[:half], order[half:]))
    held = np.sort(order[half:])
    wanted = dict.fromkeys([*FIXED, *itertools.chain(*CHOICES.values())])
    plans = {setup: made for setup in wanted if (made := plan(mine, setup, seed))}

    def on_other(setup: Setup) -> Held:
        outcomes = Outcomes(setup.draw(other, seed), SIGNAL)
        return Held(held, columns(outcomes, apply_candidate(outcomes, plans[setup][0])))

    found: dict[str | Setup, Held] = {setup: on_other(setup) for setup in FIXED if setup in plans}
    for name, among in CHOICES.items():
        cheap = [s for s in among if s in plans and plans[s][1] <= SHARE - MARGIN]
        if cheap:
            found[name] = on_other(min(cheap, key=lambda s: (plans[s][0].regret, plans[s][1])))
    return found


def summary(done: list[Held], questions: int) -> list[str]:
    """Accuracy, and accuracy and cost as shares of GPT-4's, with both intervals; a verdict."""
    means = np.array([held.columns.mean(axis=0) for held in done])
    ratios = np.stack([means[:, 0] / means[:, 1], means[:, 2] / means[:, 3]], axis=1)
    sums, times = np.zeros((questions, 4)), np.zeros(questions)
    for held in done:
        sums[held.questions] += held.columns
        times[held.questions] += 1
    known = times > 0
    again = resampled_means(sums[known] / times[known, None], 2000, 0)
    resampled = np.stack([again[:, 0] / again[:, 1], again[:, 2] / again[:, 3]], axis=1)
    cells = [f"{means[:, 0].mean():.3f}"]
    for place in range(2):
        over = np.quantile(ratios[:, place], [0.025, 0.975])
        likely = np.quantile(resampled[:, place], [0.025, 0.975])
        cells += [
            f"{ratios[:, place].mean():.3f}",
            f"{over[0]:.3f} to {over[1]:.3f}",
            f"{likely[0]:.3f} to {likely[1]:.3f}",
        ]
    met = ratios[:, 0].mean() >= ACCURACY and ratios[:, 1].mean() <= SHARE
    return [*cells, "met" if met else "missed"]


def theta_rows(recording: Recording) -> Iterator[list[str]]:
    """Votes pooled over two prompt kinds, accepted from a share theta on; nothing is planned."""
    for samples in (5, 10, 20):
        drawn = Setup(("cot1", "pot1"), samples, 0).draw(recording, 0)
        for theta in (0.5, 0.6, 0.7, 0.8):
            row = [str(samples), f"{theta}"]
            for sampling in ("calls", "n"):
                outcomes = Outcomes(drawn, SIGNAL, sampling)
                result = apply(outcomes, (0, 1, 2), (2.0, theta))
                means = columns(outcomes, result).mean(axis=0)
                row += [f"{means[0]:.3f}"] if sampling == "calls" else []
                row += [f"{means[2] / means[3]:.3f}"]
            yield [*row, f"{means[1]:.3f}"]


def whole_rows(recording: Recording) -> Iterator[list[str]]:
    """Planned and measured on all questions: what overfits, for comparison only."""
    for setup in FIXED:
        made = plan(recording, setup, 0)
        if made is None:
            continue
        outcomes = Outcomes(setup.draw(recording, 0), SIGNAL)
        means = columns(outcomes, apply_candidate(outcomes, made[0])).mean(axis=0)
        yield [
            *setup.row,
            f"{means[0]:.3f}",
            f"{means[0] / means[1]:.3f}",
            f"{means[2] / means[3]:.3f}",
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, metavar="DIR", help="of the recordings")
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    [path] = recordings(given.directory, "mot-date.parquet")
    with ProcessPoolExecutor(given.jobs) as pool:
        seeds = range(given.splits)
        running = pool.map(run_split, [path] * given.splits, seeds)
        console = Console(stderr=True)
        done = list(track(running, "splits", total=given.splits, console=console))
    recording = whole(path)
    ratios = [
        "accuracy / GPT-4's",
        "95 % of splits",
        "95 %, questions resampled",
        "cost / GPT-4's",
        "95 % of splits",
        "95 %, questions resampled",
        "98 % at 60 %",
    ]
    setup = ["GPT-3.5 prompts", "samples", "alpha"]

    def over_splits(key: str | Setup) -> list[str]:
        kept = [split[key] for split in done if key in split]
        return [str(len(kept)), *summary(kept, len(recording.questions))] if kept else ["0"]

    print(environment(), end="\n\n")
    print("Setup chosen on the planning half, without labels:\n")
    rows: list[list[str]] = [[name, *over_splits(name)] for name in CHOICES]
    print(markdown(["chosen among", "splits", "accuracy", *ratios], rows))
    print("\nSetups fixed beforehand:\n")
    rows = [[*s.row, *over_splits(s)] for s in FIXED]
    print(markdown([*setup, "splits", "accuracy", *ratios], rows))
    print("\nPlanned and measured on the same, all questions:\n")
    header = [*setup, "accuracy", "accuracy / GPT-4's", "cost / GPT-4's"]
    print(markdown(header, whole_rows(recording)))
    print("\ncot1 + pot1 with a fixed share theta of the pooled votes, on all questions:\n")
    header = ["samples", "theta", "accuracy", "cost / GPT-4's, calls", "cost / GPT-4's, n"]
    print(markdown([*header, "GPT-4's accuracy"], theta_rows(recording)))


if __name__ == "__main__":
    main()
