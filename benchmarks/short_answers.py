"""Whether shorter answers are likelier right, and what `short` makes of it, on recordings.

    python benchmarks/short_answers.py DIR [--samples 8] [--draws 40]

Of each model in DIR whose samples of a question are many and have lengths: how much longer wrong
answers are than right ones, over all and within a question; then the first 1 and the first 3 of so
many to finish, beside the vote of all of them and beside votes that generate as many tokens (a
random mix of the two nearest sizes). Tokens are counted of what was cut off too, up to the moment
of the last that votes. Lengths are as the recording tells them, estimated or not; where it tells
none they are characters of the text. Intervals are of 95 %, over questions, paired; each question
counts by its mean over so many draws.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _common import environment, markdown, recordings

from farthing.models.draw import draw
from farthing.models.recording import Floats, Ints, load_recording
from farthing.policies.ttc.course import course, numbered
from farthing.risk.bootstrap import mean_interval, resampled_means

SEED, MOST = 3, 100


@dataclass(frozen=True)
class Answers:
    """Codes, whether each is right, and its length, shapes (questions, samples)."""

    name: str
    unit: str
    codes: Ints
    right: Floats
    lengths: Floats


def answers(directory: Path, fewest: int) -> Iterator[Answers]:
    """Each model that has at least so many samples of most questions, with lengths."""
    for path in recordings(directory, "*.parquet"):
        try:
            loaded = load_recording(path)
        except Exception:  # tables and traces
            continue
        loaded = loaded.priced(dict.fromkeys(loaded.models, 0.0))  # costs do not matter here
        for model in loaded.models:
            counts = loaded.counts(model)
            if np.median(counts) < fewest:
                continue
            drawn = draw(loaded.select(np.flatnonzero(counts >= fewest)), [model], MOST, SEED)
            lengths, unit = drawn.column("output_tokens", 0), "tokens"
            if np.isnan(lengths).all():
                texts = drawn.recording.table["text"].to_pylist()
                each = np.array([len(text or "") for text in texts], float)
                lengths, unit = each[drawn.rows[0]], "characters"
            known = ~np.isnan(lengths).any(axis=1)
            yield Answers(
                f"{path.stem}: {model}", unit, numbered(drawn.answers[0])[known],
                drawn.correct(0)[known], lengths[known],
            )  # fmt: skip


def ratios(told: Answers) -> list[str]:
    """How long wrong answers are beside right ones, and within questions that have both."""
    right = told.right > 0.5
    sums = np.stack(
        [(told.lengths * w).sum(axis=1) for w in (right, ~right)]
        + [w.sum(axis=1).astype(float) for w in (right, ~right)], axis=1,
    )  # fmt: skip
    both = (sums[:, 2] > 0) & (sums[:, 3] > 0)
    found = []
    means = np.vstack([sums.mean(axis=0), resampled_means(sums, 2000, SEED)])
    found.append(means[:, 1] / means[:, 3] / (means[:, 0] / means[:, 2]))
    within = np.log(sums[both, 1] / sums[both, 3]) - np.log(sums[both, 0] / sums[both, 2])
    within = np.vstack([within[:, None].mean(axis=0), resampled_means(within[:, None], 2000, SEED)])
    found.append(np.exp(within[:, 0]))
    return [
        f"{one[0]:.2f} ({np.quantile(one[1:], 0.025):.2f} to {np.quantile(one[1:], 0.975):.2f})"
        for one in found
    ]


def judged(told: Answers, samples: int, draws: int) -> dict[str, tuple[Floats, Floats]]:
    """Mean rightness and tokens of each question, by policy."""
    rng, n = np.random.default_rng(SEED), len(told.codes)
    every = np.arange(n)
    names = ["short-1", "short-3", *(f"vote of {size}" for size in range(1, samples + 1))]
    found = {name: (np.zeros(n), np.zeros(n)) for name in names}
    for _ in range(draws):
        order = np.argsort(rng.random(told.codes.shape), axis=1)[:, :samples]
        codes, right, lengths = (
            np.take_along_axis(table, order, 1) for table in (told.codes, told.right, told.lengths)
        )
        ended = np.argsort(lengths, axis=1, kind="stable")
        for first in (1, 3):
            finished = ended[:, :first]
            votes = course(np.take_along_axis(codes, finished, 1))
            at = finished[every, votes.place[-1]]
            moment = lengths[every, finished[:, -1]][:, None]
            add(found[f"short-{first}"], right[every, at], np.minimum(lengths, moment).sum(axis=1))
        for size in range(1, samples + 1):
            place = course(codes[:, :size]).place[-1]
            add(found[f"vote of {size}"], right[every, place], lengths[:, :size].sum(axis=1))
    return {name: (good / draws, spent / draws) for name, (good, spent) in found.items()}


def add(sums: tuple[Floats, Floats], right: Floats, tokens: Floats) -> None:
    """Count a draw."""
    sums[0].__iadd__(right)
    sums[1].__iadd__(tokens)


def beside(found: dict[str, tuple[Floats, Floats]], name: str, samples: int) -> list[str]:
    """A policy's tokens, and its accuracy beside the whole vote and that of equal tokens."""
    right, tokens = found[name]
    whole, most = found[f"vote of {samples}"]
    spent = [found[f"vote of {size}"][1].mean() for size in range(1, samples + 1)]
    above = int(np.clip(np.searchsorted(spent, tokens.mean()), 1, samples - 1))
    weight = np.clip((tokens.mean() - spent[above - 1]) / (spent[above] - spent[above - 1]), 0, 1)
    low, high = found[f"vote of {above}"][0], found[f"vote of {above + 1}"][0]
    mixed = (1 - weight) * low + weight * high
    return [
        name, f"{100 * tokens.mean() / most.mean():.0f}", f"{100 * right.mean():.1f}",
        points(right - whole), f"{above + weight:.1f}", points(right - mixed),
    ]  # fmt: skip


def points(gained: Floats) -> str:
    """A difference in points, with its interval."""
    low, high = mean_interval(100 * gained)
    return f"{100 * gained.mean():+.1f} ({low:+.1f} to {high:+.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--draws", type=int, default=40)
    arguments = parser.parse_args()
    samples = arguments.samples
    print(environment())
    rows = []
    for told in answers(arguments.directory, 2 * samples):
        found = judged(told, samples, arguments.draws)
        single, whole = found["vote of 1"][0].mean(), found[f"vote of {samples}"][0].mean()
        kept = [told.name, told.unit, *ratios(told), f"{100 * single:.1f}", f"{100 * whole:.1f}"]
        for name in ("short-1", "short-3"):
            rows.append([*kept, *beside(found, name, samples)])
            kept = [""] * len(kept)
    columns = [
        "model", "lengths", "wrong / right", "within a question", "one", f"vote of {samples}",
        "policy", "tokens, % of the vote's", "right", "beside it", "equal tokens: votes of",
        "beside these",
    ]  # fmt: skip
    print(markdown(columns, rows))


if __name__ == "__main__":
    main()
