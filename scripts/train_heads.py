#!/usr/bin/env python
"""Train the heads of the tiny models, with which they judge their own workings; or verify them.

The models stay as they are. A head learns from workings that its model samples at temperature 1,
of chains of one to six steps; these are drawn with a seed of their own, which no benchmark and no
test uses. There are but 300 chains of one step and 9,000 of two, so that others meet those too:
the figures in HEADS.json are of fresh chains, once of all lengths and once of three steps and more.

As for train_tiny.py, a run is fixed by its seed, and gives the same file bit for bit with the
versions named in HEADS.json on the same kind of processor; elsewhere `--verify` compares figures.

    python scripts/train_heads.py --size all --out build/tiny
    python scripts/train_heads.py --size all --verify
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import platform
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from rich.console import Console
from rich.table import Table
from safetensors.numpy import save_file
from scipy.stats import rankdata

from farthing.models.tiny import MAX_STEPS, _tokens, load, problem, solve
from farthing.models.tiny._decoding import choose, log_softmax
from farthing.models.tiny._engine import Cache, Weights
from farthing.models.tiny._heads import EVIDENCE, FILE, LENGTHS, OUTPUTS, Heads
from farthing.models.tiny.model import WEIGHTS

MANIFEST = "HEADS.json"
MOST = 12
"""Tokens after which a working is broken off, and wrong."""
FRESH_SEED = 930_001
FRESH_CHAINS, FRESH_SAMPLES = 1000, 4
BINS = 10
CLOSE = 0.02


@dataclass(frozen=True)
class Recipe:
    """What makes the heads of one model.

    `samples` workings are drawn of each of `chains` chains of each length; each is compared with
    the others of its chain.
    """

    hidden: int = 16
    chains: int = 4000
    samples: int = 8
    epochs: int = 5
    batch: int = 1024
    rate: float = 4e-3
    seed: int = 930_000


@dataclass(frozen=True)
class Drawn:
    """Places of workings, one a token that was drawn.

    Attributes:
        seen: what heads read, shape (n, 3 E + 4).
        right: whether the whole working came to the right answer.
        enough: share of the chain's other workings that are not better.
        left: tokens that came after it.
        mean: mean log-probability of the working up to the token.
        steps: of the chain.
    """

    seen: np.ndarray
    right: np.ndarray
    enough: np.ndarray
    left: np.ndarray
    mean: np.ndarray
    steps: np.ndarray


def draw(weights: Weights, seed: int, count: int, samples: int, heat: float = 1.0) -> Drawn:
    """Workings of `count` chains of each length, `samples` of each, at temperature `heat`."""
    rng = np.random.default_rng(seed)
    parts = [_length(weights, rng, steps, count, samples, heat) for steps in _lengths()]
    return Drawn(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _lengths() -> range:
    return range(1, MAX_STEPS + 1)


def _length(
    weights: Weights, rng: np.random.Generator, steps: int, count: int, samples: int, heat: float
) -> tuple[np.ndarray, ...]:
    chains = [problem(rng, steps) for _ in range(count)]
    n = count * samples
    tokens = np.repeat([_tokens.encode(chain) for chain in chains], samples, axis=0)
    answers = np.repeat([solve(chain)[-1] for chain in chains], samples)
    answers += _tokens.FIRST + _tokens.CHARACTERS.index("0")
    cache = Cache.empty(weights.shape, n)
    drawn, seen, means = [], [], []
    logs = np.zeros((n, MOST))
    for place in range(MOST):
        stream: list[np.ndarray] = []
        logits = weights.forward(cache, tokens, last=True, stream=stream)[:, 0]
        logprobs = log_softmax(logits)
        chosen = choose(logprobs, heat, rng.random(n)) if heat else logprobs.argmax(-1)
        logs[:, place] = logprobs[np.arange(n), chosen]
        so_far = logs[:, : place + 1]
        evidence = np.column_stack(
            (so_far[:, -1], so_far.sum(1), so_far.min(1), chosen == _tokens.EOS)
        )
        seen.append(np.concatenate((*stream, evidence.astype(np.float32)), axis=1))
        means.append(so_far.mean(1))
        drawn.append(chosen)
        tokens = chosen[:, None]
    told = np.stack(drawn, 1)
    ended = told == _tokens.EOS
    end = np.where(ended.any(1), ended.argmax(1), MOST)
    last = told[np.arange(n), np.maximum(end - 1, 0)]
    right = (last == answers) & (end < MOST) & (end > 0)
    shares = right.reshape(count, samples)
    others = (shares.sum(1, keepdims=True) - shares) / max(samples - 1, 1)
    enough = np.where(shares, 1.0, 1.0 - others).reshape(-1)
    rows, places = np.nonzero(np.arange(MOST) <= end[:, None])
    return (
        np.stack(seen, 1)[rows, places], right[rows], enough[rows], end[rows] - places,
        np.stack(means, 1)[rows, places], np.full(len(rows), steps),
    )  # fmt: skip


def train(recipe: Recipe, drawn: Drawn) -> dict[str, np.ndarray]:
    """The heads' weights in fp16."""
    torch.manual_seed(recipe.seed)
    middle, spread = drawn.seen.mean(0), drawn.seen.std(0) + 1e-6
    seen = torch.from_numpy((drawn.seen - middle) / spread)
    enough = torch.from_numpy(drawn.enough).float()
    cell = np.minimum(drawn.left, LENGTHS - 1) + LENGTHS * drawn.right
    cells = torch.from_numpy(cell)
    hidden = torch.nn.Linear(seen.shape[1], recipe.hidden)
    out = torch.nn.Linear(recipe.hidden, OUTPUTS)
    parameters = [*hidden.parameters(), *out.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.rate, weight_decay=1e-3)
    steps = recipe.epochs * (len(seen) // recipe.batch)
    for step in range(steps):
        if step % (len(seen) // recipe.batch) == 0:
            order = torch.randperm(len(seen))
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * (1 + math.cos(math.pi * step / steps)) / 2
        start = step % (len(seen) // recipe.batch) * recipe.batch
        some = order[start : start + recipe.batch]
        logits = out(F.silu(hidden(seen[some])))
        loss = F.binary_cross_entropy_with_logits(logits[:, 0], enough[some])
        loss = loss + F.cross_entropy(logits[:, 1:], cells[some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    weight = hidden.weight.detach().numpy() / spread
    bias = hidden.bias.detach().numpy() - weight @ middle
    tensors = {
        "hidden.weight": weight,
        "hidden.bias": bias,
        "out.weight": out.weight.detach().numpy(),
        "out.bias": out.bias.detach().numpy(),
    }
    return {name: np.ascontiguousarray(t.astype(np.float16)) for name, t in tensors.items()}


@dataclass(frozen=True)
class Quality:
    """How well the heads foretell, of some places; a Brier score is a mean squared error.

    Attributes:
        places: how many.
        right: share of the places whose working comes to the right answer.
        auc: of the probability of that.
        auc_logprob: of the mean log-probability so far instead.
        brier: of that probability.
        brier_share: of saying `right` each time.
        calibration: mean distance of that probability, in tenths of the places, from what is so.
        brier_enough, brier_enough_share, calibration_enough: the same of `enough`.
        length: mean distance of the expected remaining tokens from those that remain.
        length_share: the same of saying the mean each time.
    """

    places: int
    right: float
    auc: float
    auc_logprob: float
    brier: float
    brier_share: float
    calibration: float
    brier_enough: float
    brier_enough_share: float
    calibration_enough: float
    length: float
    length_share: float


def quality(drawn: Drawn, told: np.ndarray, on: np.ndarray) -> Quality:
    """That of what the heads told, at the places `on`."""
    joint = told[on, 1:].reshape(-1, 2, LENGTHS)
    likely, enough = joint[:, 1].sum(-1), told[on, 0]
    right, target, left = drawn.right[on].astype(float), drawn.enough[on], drawn.left[on]
    expected = joint.sum(1) @ np.arange(LENGTHS)
    return Quality(
        int(on.sum()),
        *(
            round(float(number), 4)
            for number in (
                right.mean(),
                auroc(likely, drawn.right[on]),
                auroc(drawn.mean[on], drawn.right[on]),
                ((likely - right) ** 2).mean(),
                right.var(),
                miscalibration(likely, right),
                ((enough - target) ** 2).mean(),
                target.var(),
                miscalibration(enough, target),
                np.abs(expected - left).mean(),
                np.abs(left.mean() - left).mean(),
            )
        ),
    )


def auroc(score: np.ndarray, right: np.ndarray) -> float:
    """Chance that a right one scores above a wrong one, ties counting half; NaN if one kind."""
    wins = rankdata(score)[right].sum() - right.sum() * (right.sum() + 1) / 2
    pairs = right.sum() * (~right).sum()
    return float(wins / pairs) if pairs else math.nan


def reliability(likely: np.ndarray, target: np.ndarray) -> list[tuple[float, float]]:
    """What was said and what was so, on average, in tenths of the places by what was said."""
    order = np.argsort(likely, kind="stable")
    return [
        (round(float(likely[part].mean()), 4), round(float(target[part].mean()), 4))
        for part in np.array_split(order, BINS)
        if len(part)
    ]


def miscalibration(likely: np.ndarray, target: np.ndarray) -> float:
    """The mean distance of the two in `reliability`."""
    return float(np.mean([abs(said - so) for said, so in reliability(likely, target)]))


def measure(size: str, heads: Heads) -> dict[str, object]:
    """What the heads say of fresh chains' workings."""
    weights = Weights.load(WEIGHTS / size)
    drawn = draw(weights, FRESH_SEED, FRESH_CHAINS, FRESH_SAMPLES)
    told = tell(heads, drawn.seen)
    going, ended, long = drawn.left > 0, drawn.left == 0, drawn.steps >= 3
    cold = draw(weights, FRESH_SEED, FRESH_CHAINS, 1, heat=0.0)
    last = cold.left == 0
    greedy = tell(heads, cold.seen)[:, 1 + LENGTHS :].sum(-1)
    return {
        "unfinished": asdict(quality(drawn, told, going)),
        "unfinished, 3 steps and more": asdict(quality(drawn, told, going & long)),
        "finished": asdict(quality(drawn, told, ended)),
        "finished, 3 steps and more": asdict(quality(drawn, told, ended & long)),
        "reliability, unfinished": reliability(
            told[going, 1 + LENGTHS :].sum(-1), drawn.right[going].astype(float)
        ),
        "reliability, finished": reliability(
            told[ended, 1 + LENGTHS :].sum(-1), drawn.right[ended].astype(float)
        ),
        "greedy answers": {
            "right": round(float(cold.right[last].mean()), 4),
            "said": round(float(greedy[last].mean()), 4),
            "auc": round(auroc(greedy[last], cold.right[last]), 4),
        },
    }


def tell(heads: Heads, seen: np.ndarray) -> np.ndarray:
    """What the heads say, as the models show it."""
    return heads.tell(heads.see(seen[:, :-EVIDENCE]), seen[:, -EVIDENCE:])


def build(sizes: list[str], out: Path, console: Console) -> dict[str, dict[str, object]]:
    """Train the heads of `sizes` into `out`; the manifest's entry of each."""
    entries: dict[str, dict[str, object]] = {}
    recipe = Recipe()
    for size in sizes:
        began = time.process_time()
        weights = Weights.load(WEIGHTS / size)
        tensors = train(recipe, draw(weights, recipe.seed, recipe.chains, recipe.samples))
        folder = out / size
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / FILE
        save_file(tensors, path, metadata={"format": "pt"})
        path.chmod(0o644)
        heads = Heads.load(folder)
        model = load(size)
        entries[size] = {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "recipe": asdict(recipe),
            "parameters": sum(tensor.size for tensor in tensors.values()),
            "flops": heads.flops,
            "flops_share": round(heads.flops / model.flops_per_token(), 4),
            "measured": measure(size, heads),
        }
        console.print(f"{size}: {time.process_time() - began:.0f} CPU seconds")
    return entries


def report(entries: dict[str, dict[str, object]], console: Console) -> None:
    """Print what was measured."""
    table = Table(
        "size", "places", "right", "AUC", "logprob's", "Brier", "share's", "off", "enough: Brier",
        "share's", "off", "length", "mean's", box=None,
    )  # fmt: skip
    for size, entry in entries.items():
        measured = entry["measured"]
        assert isinstance(measured, dict)
        for name, told in measured.items():
            if isinstance(told, dict) and "auc_logprob" in told:
                numbers = list(told.values())[1:]
                table.add_row(size, name, *(f"{number:.3f}" for number in numbers))
        console.print(f"{size}: {measured['greedy answers']}, FLOPs +{entry['flops_share']:.1%}")
    console.print(table)


def verify(built: dict[str, dict[str, object]], manifest: Path, console: Console) -> bool:
    """Compare rebuilt heads with the manifest: same bytes, or a Brier score close to it."""
    shipped = json.loads(manifest.read_text())
    good = True
    for size, entry in built.items():
        known = shipped["sizes"][size]
        if entry["sha256"] == known["sha256"]:
            console.print(f"{size}: the same heads, bit for bit")
            continue
        measured = entry["measured"]
        assert isinstance(measured, dict)
        apart = max(
            abs(measured[part]["brier"] - known["measured"][part]["brier"])
            for part in ("unfinished", "finished")
        )
        close = apart <= CLOSE
        good &= close
        console.print(
            f"{size}: other heads (built with torch {shipped['torch']} on {shipped['machine']}, "
            f"this is {torch.__version__} on {platform.machine()}), Brier score {apart:.3f} away"
            f"{'' if close else f': more than {CLOSE}'}"
        )
    return good


def main() -> int:
    """Train, report, and write or verify; 1 when a verification fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    sizes = ["small", "mid", "large"]
    parser.add_argument("--size", choices=[*sizes, "all"], default="all")
    parser.add_argument("--out", type=Path, help="folder to write; the package's own by default")
    parser.add_argument("--verify", action="store_true", help="rebuild and compare, write nothing")
    arguments = parser.parse_args()
    console = Console(width=160)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    wanted = sizes if arguments.size == "all" else [arguments.size]
    if arguments.verify:
        with tempfile.TemporaryDirectory() as folder:
            entries = build(wanted, Path(folder), console)
        report(entries, console)
        return 0 if verify(entries, WEIGHTS / MANIFEST, console) else 1
    out = arguments.out or WEIGHTS
    entries = build(wanted, out, console)
    report(entries, console)
    path = out / MANIFEST
    known = json.loads(path.read_text())["sizes"] if path.exists() else {}
    known |= entries
    manifest = {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "sizes": {size: known[size] for size in sizes if size in known},
    }
    path.write_text(json.dumps(manifest, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
