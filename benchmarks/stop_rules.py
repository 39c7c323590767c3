"""Votes that stop early beside the full vote: samples taken, accuracy lost, answers changed.

    python benchmarks/stop_rules.py [DIR] [--problems 4000] [--keep FOLDER] [--orders 50]

The samples are 64 answers of each tiny model to the same chains of one to six steps, at
temperatures 0.5 and 1, and those of the recordings in DIR that have 16 or more a question. Each
question's samples come in so many random orders, the same for all rules, and are voted in full and
with every rule, at most 16 and at most 64 (or as many as there are). A row is a rule: the share of
the full vote's samples that it takes, in how many rounds of calls at once, what it adds to the full
vote's accuracy in points with a 95 % interval (over questions, paired), and how often its answer is
another one. The last table has the least and the most of each rule over all of these. With --keep
the tiny models' answers are saved in FOLDER, and read from there the next time. Ten minutes.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _common import environment, markdown

from farthing.core.request import Request
from farthing.models import tiny
from farthing.models.draw import draw
from farthing.models.recording import Floats, Ints, load_recording
from farthing.policies.ttc.course import course, numbered
from farthing.policies.ttc.stops import Stop, stop_rule, stopped
from farthing.risk.bootstrap import mean_interval
from farthing.signals import reader

SEED, SAMPLES, FEWEST = 11, 64, 16
TEMPERATURES = (0.5, 1.0)
RULES: dict[str, Stop] = {
    "exact": stop_rule("exact"),
    **{f"window {size}": stop_rule("window", size) for size in (2, 4, 8)},
    **{f"beta {level}": stop_rule("beta", level) for level in (0.8, 0.9, 0.95, 0.99)},
    **{f"doubling {first}": stop_rule("doubling", first) for first in (2, 4)},
    **{f"error {level}": stop_rule("error", level) for level in (0.01, 0.05, 0.1, 0.2)},
}


@dataclass(frozen=True)
class Samples:
    """Answers as codes, -1 for none, and whether each is right, shapes (questions, samples)."""

    name: str
    answers: Ints
    right: Floats


def of_tiny(problems: int, keep: Path | None) -> Iterator[Samples]:
    """What each tiny model answers at each temperature."""
    rng = np.random.default_rng(SEED)
    chains = [tiny.problem(rng, int(rng.integers(1, tiny.MAX_STEPS + 1))) for _ in range(problems)]
    for size in tiny.TINY_SIZES:
        for heat in TEMPERATURES:
            name = f"tiny-{size}, temperature {heat:g}"
            path = None if keep is None else keep / f"{size}-{heat:g}-{problems}.npy"
            if path is not None and path.exists():
                told = np.load(path)
            else:
                told = asyncio.run(asked(tiny.load(size), chains, heat))
                if path is not None:
                    np.save(path, told)
            values = np.array([tiny.solve(chain)[-1] for chain in chains])
            yield Samples(name, told, (told == values[:, None]).astype(float))


async def asked(model: tiny.TinyModel, chains: list[str], heat: float) -> Ints:
    """The answers to every chain; -1 where none can be read."""
    read, rows = reader("last-number"), []
    for seed, chain in enumerate(chains):
        request = Request.ask(tiny.prompt(chain), n=SAMPLES, temperature=heat, seed=seed)
        texts = [sample.text for sample in (await model.complete(request)).samples]
        rows.append([-1 if (found := read(text)) is None else int(found) for text in texts])
    return np.array(rows)


def of_recordings(directory: Path) -> Iterator[Samples]:
    """Each model of each recording that has enough samples."""
    for path in sorted(directory.glob("*.parquet")):
        try:
            loaded = load_recording(path)
        except Exception as error:
            print(f"left out {path.name}: {str(error).splitlines()[0]}")
            continue
        loaded = loaded.priced(dict.fromkeys(loaded.models, 0.0))  # costs do not matter here
        for model in loaded.models:
            counts = loaded.counts(model)
            if np.median(counts) < FEWEST:
                continue
            drawn = draw(loaded.select(np.flatnonzero(counts >= FEWEST)), [model], SAMPLES, SEED)
            yield Samples(f"{path.stem}: {model}", drawn.answers[0], drawn.correct(0))


@dataclass(frozen=True)
class Row:
    """A rule on one set of samples; `share` of the samples, `other` of the answers, in percent."""

    rule: str
    share: float
    rounds: float
    gain: float
    interval: tuple[float, float]
    other: float

    @property
    def holds(self) -> bool:
        """Whether it is the full vote within a point, at under half its samples."""
        return self.share < 50 and -1 <= self.interval[0] <= self.interval[1] <= 1

    def told(self) -> list[str]:
        """As a row of a table."""
        low, high = self.interval
        return [
            self.rule, f"{self.share:.0f}", f"{self.rounds:.1f}", f"{self.gain:+.2f}",
            f"{low:+.2f} to {high:+.2f}", f"{self.other:.1f}", "yes" if self.holds else "",
        ]  # fmt: skip


def rows(samples: Samples, places: int, orders: int) -> tuple[float, list[Row]]:
    """The full vote's accuracy, and the table's rows, for votes of so many places."""
    rng, n = np.random.default_rng(SEED), len(samples.answers)
    codes, every = numbered(samples.answers), np.arange(n)
    sums = {name: np.zeros((4, n)) for name in RULES}
    full = np.zeros(n)
    for _ in range(orders):
        order = np.argsort(rng.random(codes.shape), axis=1)[:, :places]
        answers, right = (np.take_along_axis(t, order, 1) for t in (codes, samples.right))
        votes = course(answers)
        whole = votes.place[places]
        full += right[every, whole]
        for name, rule in RULES.items():
            did = stopped(rule, votes)
            rounds = sum(np.bincount(asked, minlength=n) for asked, _ in did.batches)
            gained = right[every, did.place] - right[every, whole]
            other = answers[every, did.place] != answers[every, whole]
            sums[name] += [did.taken / places, rounds, gained, other]
    told = []
    for name, values in sums.items():
        taken, rounds, gained, other = values.mean(axis=1) / orders
        interval = mean_interval(100 * values[2] / orders)
        told.append(Row(name, 100 * taken, rounds, 100 * gained, interval, 100 * other))
    return float(full.mean() / orders), told


def summary(rule: str, found: list[Row]) -> list[str]:
    """The least and the most of a rule."""
    shares, rounds, gains, others = (
        [getattr(row, name) for row in found] for name in ("share", "rounds", "gain", "other")
    )
    return [
        rule, f"{min(shares):.0f} to {max(shares):.0f}", f"{min(rounds):.1f} to {max(rounds):.1f}",
        f"{min(gains):+.2f} to {max(gains):+.2f}", f"{max(others):.1f}",
        f"{sum(row.holds for row in found)} of {len(found)}",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", type=Path, nargs="?", metavar="DIR")
    parser.add_argument("--problems", type=int, default=4000)
    parser.add_argument("--orders", type=int, default=50)
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    if arguments.keep is not None:
        arguments.keep.mkdir(parents=True, exist_ok=True)
    print(environment())
    sources = list(of_tiny(arguments.problems, arguments.keep))
    if arguments.directory is not None:
        sources += of_recordings(arguments.directory)
    columns = ["rule", "samples, %", "rounds", "points", "95 %", "other answer, %", "holds"]
    found: dict[tuple[int, str], list[Row]] = {}
    for samples in sources:
        have = samples.answers.shape[1]
        for size in (FEWEST, SAMPLES):
            accuracy, told = rows(samples, min(size, have), arguments.orders)
            print(f"\n{samples.name}: {len(samples.answers)} questions, votes of {min(size, have)}")
            print(f"of which {100 * accuracy:.1f} % are right\n")
            print(markdown(columns, [row.told() for row in told]), flush=True)
            for row in told:
                found.setdefault((size, row.rule), []).append(row)
    for size in (FEWEST, SAMPLES):
        print(f"\nAll {len(sources)}, votes of {size}, or as many as there are\n")
        told_all = [summary(rule, found[size, rule]) for rule in RULES]
        print(markdown([*columns[:4], *columns[5:]], told_all))


if __name__ == "__main__":
    main()
