"""A stream of texts that small classifiers take over from a model, with a planted shift.

The texts are made up: ten words, of which four in ten are of a class's own 25, the others any of
800. The model is right 97 times in 100. After the share `--shift` of the items the classes' words
change: to others ("new words"), or to those of the next class ("other meaning"), which is the
harder one, since the classifiers stay sure of themselves.

    python benchmarks/streams.py --items 6000
"""

from __future__ import annotations

import argparse
from itertools import pairwise

import numpy as np
import pyarrow as pa
from _common import environment, markdown

from farthing.models.draw import Draw, draw
from farthing.models.recording import from_table
from farthing.policies.online import Online

CLASSES = ("late", "broken", "praise", "other")
SHIFTS = ("none", "new words", "other meaning")


def stream(items: int, shift: int, kind: str, seed: int) -> tuple[Draw, np.ndarray]:
    """The items with the model's answers, and the true classes."""
    rng = np.random.default_rng(seed)
    rows, truth = [], []
    for number in range(items):
        label, moved = int(rng.integers(4)), number >= shift
        first = 25 * label
        if moved and kind == "new words":
            first += 400
        if moved and kind == "other meaning":
            first = 25 * ((label + 1) % 4)
        own = rng.random(10) < 0.4
        words = np.where(own, rng.integers(first, first + 25, 10), rng.integers(0, 800, 10))
        said = label if rng.random() < 0.96 else int(rng.integers(4))
        truth.append(CLASSES[label])
        rows.append(
            {
                "question": f"q{number:06d}",
                "task": "made-up",
                "prompt": " ".join(f"w{word}" for word in words),
                "model": "large",
                "sample": 0,
                "answer": CLASSES[said],
                "cost_usd": 0.001,
            }
        )
    drawn = draw(from_table(pa.Table.from_pylist(rows), "made-up"), ["large"], 1)
    return drawn, np.array(truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=6000)
    parser.add_argument("--shift", type=float, default=0.5, help="share of items before it")
    parser.add_argument("--windows", type=int, default=6)
    parser.add_argument("--prices", default="0.05,0.1,0.2")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(environment())
    bounds = np.linspace(0, arguments.items, arguments.windows + 1).astype(int)
    print(
        "\nAccuracy and, in brackets, share of items that the model answered; "
        f"{bounds[1]} items each.\n"
    )
    rows = []
    for kind in SHIFTS:
        shift = int(arguments.items * arguments.shift)
        drawn, truth = stream(arguments.items, shift, kind, arguments.seed)
        for price in map(float, arguments.prices.split(",")):
            done = Online("large", CLASSES, price=price).decide(drawn)
            right = np.array(done.answers) == truth
            cells = [
                f"{right[a:b].mean():.3f} ({(done.rung[a:b] == 2).mean():.2f})"
                for a, b in pairwise(bounds)
            ]
            share = f"{done.cost.sum() / drawn.cost[0].sum():.2f}"
            rows.append([kind, f"{price}", *cells, f"{right.mean():.3f}", share])
    windows = [f"to {bound}" for bound in bounds[1:]]
    print(markdown(["shift", "price", *windows, "all", "cost beside the model alone"], rows))


if __name__ == "__main__":
    main()
