"""Which estimator of a model's accuracy to trust, by the number of labels?

`python benchmarks/debiasing.py DIR` takes recorded answers whose correctness is known as expert
labels, and as judge whether a weaker (or another) model gave the same answer, or a signal. It draws
questions with replacement, labels some of them, and compares the estimates with the truth.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _common import environment, markdown, recordings
from rich.console import Console
from rich.progress import track

from farthing.models.recording import Floats, load_recording
from farthing.risk.dsl import dsl_mean
from farthing.risk.prediction_powered import Estimate, classical_mean, ppi_mean, ppi_plus_mean

LABELS = (25, 50, 100, 200, 400)
CONFIDENCE = 0.95

# File, model whose accuracy is wanted, models whose agreement judges it, a signal of its own.
CASES = (
    ("mzelling-llama-mmlu", "llama3.1-8b", ("llama3.2-3b", "llama3.2-1b"), "mean_logprob"),
    ("mzelling-llama-triviaqa", "llama3.1-70b", ("llama3.1-8b", "llama3.2-3b"), "conf_raw"),
    (
        "routerbench-arc_challenge",
        "mistralai/mixtral-8x7b-chat",
        ("zero-one-ai/Yi-34B-Chat", "mistralai/mistral-7b-chat"),
        None,
    ),
    (
        "routerbench-winogrande",
        "gpt-4-1106-preview",
        ("zero-one-ai/Yi-34B-Chat", "gpt-3.5-turbo-1106"),
        None,
    ),
    ("zeroeval-gsm", "gpt-4o-mini-2024-07-18", ("gpt-3.5-turbo-0125", "Qwen2-7B-Instruct"), None),
)


@dataclass(frozen=True)
class Case:
    """A recording's answers of one model.

    Attributes:
        name: of the recording and the model.
        correct: expert labels, 0 to 1, shape (questions,).
        features: the first is the judge, the others are further hints, shape (questions, k).
    """

    name: str
    correct: Floats
    features: Floats


def case(path: Path, model: str, judges: tuple[str, ...], signal: str | None) -> Case | None:
    """The questions that all models answered; None where the recording lacks one of them."""
    recording = load_recording(path)
    wanted = (model, *judges)
    if not set(wanted) <= set(recording.models):
        return None
    every = np.all([recording.counts(name) > 0 for name in wanted], axis=0)
    rows = [recording.start[recording.model_index(name), :-1][every] for name in wanted]
    answers = np.array(recording.table["answer"].to_pylist(), dtype=object)
    own = answers[rows[0]]
    features = [(answers[row] == own).astype(float) for row in rows[1:]]
    if signal is not None:
        values = recording.floats(signal)[rows[0]]
        features.append(np.where(np.isnan(values), np.nanmean(values), values))
    correct = recording.floats("correct")[rows[0]]
    known = ~np.isnan(correct)
    return Case(f"{path.stem}, {model}", correct[known], np.column_stack(features)[known])


def estimates(y: Floats, x: Floats, labels: int, seed: int) -> dict[str, Estimate]:
    """Each estimator, where the first `labels` of the questions are labelled."""
    judge, rest = x[:labels, 0], x[labels:, 0]
    hidden = np.where(np.arange(len(y)) < labels, y, np.nan)
    chance = labels / len(y)
    return {
        "labels alone": classical_mean(y[:labels]),
        "judge alone": classical_mean(x[:, 0]),
        "PPI": ppi_mean(y[:labels], judge, rest),
        "PPI++": ppi_plus_mean(y[:labels], judge, rest),
        "DSL": dsl_mean(hidden, x[:, :1], chance, seed=seed),
        "DSL, all hints": dsl_mean(hidden, x, chance, seed=seed),
    }


@dataclass(frozen=True)
class Row:
    """How one estimator did with one number of labels on one case."""

    case: str
    labels: int
    estimator: str
    bias: float
    rmse: float
    coverage: float
    width: float


def sweep(one: Case, trials: int) -> Iterator[Row]:
    """All estimators on one case."""
    truth, units = float(one.correct.mean()), len(one.correct)
    for labels in LABELS:
        rng = np.random.default_rng(labels)
        found: dict[str, list[tuple[float, float, float]]] = {}
        for trial in range(trials):
            drawn = rng.integers(units, size=units)
            told = estimates(one.correct[drawn], one.features[drawn], labels, trial)
            for name, estimate in told.items():
                ends = estimate.interval(CONFIDENCE)
                found.setdefault(name, []).append((estimate.value, *ends))
        for name, values in found.items():
            value, low, high = np.array(values).T
            covered = (low <= truth) & (truth <= high)
            yield Row(
                one.name,
                labels,
                name,
                float(value.mean() - truth),
                float(np.sqrt(((value - truth) ** 2).mean())),
                float(covered.mean()),
                float((high - low).mean()),
            )


def summary(rows: list[Row]) -> Iterator[list[str]]:
    """All cases together: errors beside those of the labels alone, the worst bias and coverage."""
    alone = {(r.case, r.labels): r.rmse for r in rows if r.estimator == "labels alone"}
    for labels in LABELS:
        for name in dict.fromkeys(r.estimator for r in rows):
            mine = [r for r in rows if r.labels == labels and r.estimator == name]
            ratios = np.array([r.rmse / alone[r.case, labels] for r in mine])
            coverage = [r.coverage for r in mine]
            yield [
                str(labels),
                name,
                f"{max((r.bias for r in mine), key=abs):+.4f}",
                f"{np.exp(np.log(ratios).mean()):.2f} ({ratios.min():.2f} to {ratios.max():.2f})",
                f"{min(coverage):.3f} to {max(coverage):.3f}",
                f"{np.mean([r.width for r in mine]):.3f}",
            ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, metavar="DIR", help="of the recordings")
    parser.add_argument("--trials", type=int, default=1000)
    given = parser.parse_args()
    there = {path.stem: path for path in recordings(given.directory, "*.parquet")}
    todo = [case(there[name], *rest) for name, *rest in CASES if name in there]  # type: ignore[arg-type]
    cases = [one for one in todo if one is not None]
    if not cases:
        print(f"skipped: none of the recordings in {given.directory}", file=sys.stderr)
        return
    rows = [
        row
        for one in track(cases, console=Console(stderr=True), description="recordings")
        for row in sweep(one, given.trials)
    ]
    print(environment(), end="\n\n")
    print(f"{given.trials} draws; intervals at {CONFIDENCE:.0%}.", end="\n\n")
    for one in cases:
        both = np.corrcoef(one.correct, one.features[:, 0])[0, 1]
        print(
            f"{one.name}: {len(one.correct)} questions, accuracy {one.correct.mean():.3f}, judge "
            f"{one.features[:, 0].mean():.3f}, correlation {both:.2f}"
        )
    columns = ["labels", "estimator", "worst bias", "RMSE / labels alone", "coverage", "width"]
    print("\n" + markdown(columns, summary(rows)) + "\n")
    columns = ["recording, model", "labels", "estimator", "bias", "RMSE", "coverage", "width"]
    numbers = (
        [
            r.case,
            str(r.labels),
            r.estimator,
            f"{r.bias:+.4f}",
            f"{r.rmse:.4f}",
            f"{r.coverage:.3f}",
            f"{r.width:.3f}",
        ]
        for r in rows
    )
    print(markdown(columns, numbers))


if __name__ == "__main__":
    main()
