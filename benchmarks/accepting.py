"""How many of a model's recorded answers can be accepted with a bound on the share of bad ones?

`python benchmarks/accepting.py DIR` splits recorded answers at random: 200 with known correctness
calibrate, 300 are accepted or not by agreement with another model or by a signal.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from _common import environment, markdown, recordings
from debiasing import CASES, Case, case

from farthing.models.recording import Floats
from farthing.plan.outcomes import Bools
from farthing.risk.selection import select, select_best

KNOWN, NEW = 200, 300
RATES = (0.1, 0.2, 0.3)


def by_eye(scores: Floats, good: Bools, new: Floats, q: float) -> Bools:
    """By the score and threshold that take most calibration answers at a share of q."""
    best, chosen = -1, (0, np.inf)
    for kind, values in enumerate(scores):
        order = np.argsort(-values, kind="stable")
        share = np.cumsum(~good[order]) / np.arange(1, len(good) + 1)
        kept = np.flatnonzero(share <= q)
        if len(kept) and kept[-1] > best:
            best, chosen = int(kept[-1]), (kind, float(values[order][kept[-1]]))
    return new[chosen[0]] >= chosen[1]


def rows(one: Case, splits: int) -> Iterator[list[str]]:
    """What each rule accepts, and how much of it is bad."""
    ties = 1e-6 * np.random.default_rng(0).random(one.features.shape)
    scores, good = (one.features + ties).T, one.correct > 0.5
    for q in RATES:
        found: dict[str, list[tuple[float, float]]] = {}
        for split in range(splits):
            order = np.random.default_rng(split).permutation(len(good))
            a, b = order[:KNOWN], order[KNOWN : KNOWN + NEW]
            ways = {
                f"hint {kind + 1} alone": select(values[a], good[a], values[b], q)
                for kind, values in enumerate(scores)
            }
            ways["best of the hints"] = select_best(scores[:, a], good[a], scores[:, b], q)
            ways["by eye"] = by_eye(scores[:, a], good[a], scores[:, b], q)
            for name, chosen in ways.items():
                bad = (chosen & ~good[b]).sum() / max(1, chosen.sum())
                found.setdefault(name, []).append((float(chosen.mean()), float(bad)))
        for name, values in found.items():
            accepted, bad = np.array(values).T
            over = float((bad > q).mean())
            yield [
                one.name,
                f"{q:g}",
                name,
                f"{accepted.mean():.3f}",
                f"{bad.mean():.3f} (± {1.96 * bad.std() / np.sqrt(len(bad)):.3f})",
                f"{over:.2f}",
            ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, metavar="DIR", help="of the recordings")
    parser.add_argument("--splits", type=int, default=400)
    given = parser.parse_args()
    there = {path.stem: path for path in recordings(given.directory, "*.parquet")}
    todo = [case(there[name], *rest) for name, *rest in CASES if name in there]  # type: ignore[arg-type]
    cases = [one for one in todo if one is not None and len(one.correct) >= KNOWN + NEW]
    if not cases:
        print(f"skipped: none of the recordings in {given.directory}", file=sys.stderr)
        return
    print(environment(), end="\n\n")
    for one in cases:
        print(f"{one.name}: {(one.correct <= 0.5).mean():.3f} of the answers are bad")
    columns = ["recording, model", "q", "rule", "accepted", "bad among them", "splits over q"]
    print("\n" + markdown(columns, (row for one in cases for row in rows(one, given.splits))))


if __name__ == "__main__":
    main()
