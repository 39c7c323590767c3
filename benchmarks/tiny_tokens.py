"""Token-level uncertainty on a recording with every token's log-probability.

`python benchmarks/tiny_tokens.py` lets the tiny models work chains of arithmetic, records the
quantiles of their tokens' log-probabilities, and asks what a classifier of these is worth beside
one number for the whole answer, in choosing what is deferred to the large model. Half of the
questions are learnt from, the other half is measured.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from _common import environment, markdown
from scipy.stats import rankdata

from farthing.core.money import PICO_PER_USD
from farthing.core.request import Request
from farthing.models.draw import Draw, draw
from farthing.models.recording import Floats, from_table
from farthing.models.tiny import MAX_STEPS, check, load, problem, prompt, solve
from farthing.policies.decisions import rightness
from farthing.risk.bootstrap import mean_interval
from farthing.signals import reader
from farthing.signals.learned import Learned
from farthing.signals.logprob import STATISTICS, LogProb
from farthing.signals.seen import QUANTILES, of_draw, quantile_column


def record(
    sizes: Sequence[str],
    questions: int,
    samples: int = 1,
    *,
    temperature: float = 0.7,
    seed: int = 0,
) -> pa.Table:
    """What tiny models of these sizes answer to random chains, as a recording's table."""
    rng = np.random.default_rng(seed)
    asked = [prompt(problem(rng, int(rng.integers(1, MAX_STEPS + 1)))) for _ in range(questions)]
    return pa.Table.from_pylist(asyncio.run(_rows(sizes, asked, samples, temperature, seed)))


async def _rows(
    sizes: Sequence[str], asked: Sequence[str], samples: int, temperature: float, seed: int
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    read = reader("last-number")
    for size in sizes:
        model = load(size)
        rates = model.card.rates
        assert rates is not None
        for number, text in enumerate(asked):
            for sample in range(samples):
                request = Request.ask(
                    text, temperature=temperature, seed=seed + samples * number + sample,
                    logprobs=True,
                )  # fmt: skip
                response = await model.complete(request)
                told = response.samples[0]
                assert response.usage is not None
                logprobs = [value for _, value in told.tokens or ()]
                quantiles = np.quantile(logprobs, QUANTILES).tolist()
                names = map(quantile_column, QUANTILES)
                rows.append(
                    {
                        "question": f"q{number:05d}",
                        "task": "chains",
                        "prompt": text,
                        "reference": str(solve(text)[-1]),
                        "model": size,
                        "sample": sample,
                        "answer": read(told.text),
                        "text": told.text,
                        "correct": float(check(text, told.text).correct),
                        "input_tokens": response.usage.input,
                        "output_tokens": told.output_tokens,
                        "cost_usd": rates.cost(response.usage).pico / PICO_PER_USD,
                        "mean_logprob": told.mean_logprob,
                        "min_logprob": told.min_logprob,
                        **dict(zip(names, quantiles, strict=True)),
                    }
                )
    return rows


def deferred(score: Floats, cheap: Floats, strong: Floats) -> Floats:
    """For each question how right it is on average over all shares of questions deferred.

    Questions are deferred to the strong model in the order of their scores, the lowest first:
    the mean is the area under the curve of accuracy over the deferred share.
    """
    kept = (rankdata(score) - 0.5) / len(score)
    area: Floats = kept * cheap + (1 - kept) * strong
    return area


def scores(learn: Draw, other: Draw, model: int) -> dict[str, Floats]:
    """What each signal says of a model's answers to the questions that are measured."""
    seen = [of_draw(half, model, 1) for half in (learn, other)]
    right = rightness(learn)[model][:, 0]
    told = {f"{name} log-probability": LogProb(name).values(seen[1:]) for name in STATISTICS}
    for classifier in ("logistic", "trees"):
        scorer, _ = Learned.fit(seen[:1], right, ("tokens",), classifier=classifier)
        told[f"tokens, {classifier}"] = scorer.values(seen[1:])
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="keep the recording as this Parquet file")
    given = parser.parse_args()
    sizes = ("small", "mid", "large")
    table = record(sizes, given.questions, seed=given.seed)
    if given.out is not None:
        pq.write_table(table, given.out)
    drawn = draw(from_table(table, "chains"), sizes, 1)
    order = np.random.default_rng(given.seed).permutation(drawn.questions)
    half = drawn.questions // 2
    learn, other = drawn.select(np.sort(order[:half])), drawn.select(np.sort(order[half:]))
    truth = [values[:, 0] for values in rightness(other)]
    print(environment())
    rows = []
    for model, size in enumerate(sizes[:-1]):
        told = scores(learn, other, model)
        base = deferred(told["mean log-probability"], truth[model], truth[-1])
        for name, score in told.items():
            area = deferred(score, truth[model], truth[-1])
            low, high = mean_interval(area - base)
            against = (
                "" if area is base or not (area - base).any() else f"{low:+.4f} to {high:+.4f}"
            )
            rows.append([f"{size} to large", name, f"{area.mean():.4f}", against])
        rows.append(
            [f"{size} to large", "at random", f"{(truth[model] + truth[-1]).mean() / 2:.4f}", ""]
        )
    print(markdown(["cascade", "signal", "area", "against the mean, 95 %"], rows))
    print("Right: " + ", ".join(f"{s} {t.mean():.4f}" for s, t in zip(sizes, truth, strict=True)))


if __name__ == "__main__":
    main()
