"""All policies on all recordings, and how fast they are.

`python benchmarks/policies.py DIR` prints for each recording in DIR the table of `farthing bench
policies`, in short. `--winners` compares what `farthing plan --search` finds with C3PO alone.
`--speed` prints instead how many questions a second each policy decides, at once and one by one
as it is served, and how long searching and planning take; it needs no DIR.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from _common import environment, markdown, recordings
from rich.console import Console
from rich.progress import track

from farthing.bench.figures import Row, rows
from farthing.bench.policies import Bench, bench
from farthing.bench.show import plot
from farthing.budgets.operation import Operation
from farthing.core.errors import DataError
from farthing.core.money import Cost
from farthing.core.request import Message, Request
from farthing.cost.prices import PriceBook
from farthing.models.draw import Draw, draw
from farthing.models.recording import Recording, from_table, load_recording
from farthing.plan import Promise, make_plan
from farthing.plan.c3po import C3po
from farthing.plan.policy_search import search_plan
from farthing.plan.replay import recorded_models
from farthing.plan.selection import METHODS, candidates, try_all
from farthing.policies.cascade import Cascade
from farthing.policies.decisions import Learnt, rightness
from farthing.risk.bootstrap import resampled_means
from farthing.risk.curve import hull

NAMES = (
    "mot-date", "mzelling-llama-mmlu", "mzelling-llama-triviaqa", "mzelling-llama-gsm8k",
    "routerbench-arc_challenge", "routerbench-winogrande", "zeroeval-gsm", "routerarena",
    "superhard", "swebench-verified",
)  # fmt: skip
MOT = [
    *(f"gpt-3.5-turbo@t0.4/{kind}" for kind in ("cot1", "cot2", "pot1", "pot2")),
    "gpt-4@greedy/cot2",
]
MODELS = {
    "mot-date": MOT,
    "zeroeval-gsm": [
        "Qwen2-7B-Instruct", "gemini-1.5-flash", "gpt-4o-mini-2024-07-18",
        "claude-3-5-haiku-20241022", "claude-3-5-sonnet-20241022",
    ],
}  # fmt: skip
PLACE = 9
SERVED = 400


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dir", nargs="?", type=Path)
    parser.add_argument("--only", help="names of recordings, by commas")
    parser.add_argument("--policies", help="names of policies, by commas")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--winners", action="store_true", help="the search beside C3PO")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--questions", type=int, default=10_000, help="of --speed")
    options = parser.parse_args()
    print(environment(), end="\n\n")
    methods = options.policies.split(",") if options.policies else list(METHODS)
    if options.speed or options.dir is None:
        _speed(methods, options.questions)
        return
    found = {path.stem: path for path in recordings(options.dir, "*.parquet")}
    names = options.only.split(",") if options.only else NAMES
    if options.winners:
        _winners(found, [n for n in names if n in found], methods, options.jobs)
        return
    done = []
    for name in track([n for n in names if n in found], console=Console(stderr=True)):
        begun = time.perf_counter()
        try:
            one = bench(
                load_recording(found[name]), models=MODELS.get(name), methods=methods,
                samples=options.samples, jobs=options.jobs,
            )  # fmt: skip
        except DataError as error:
            print(f"{name}: {error}\n")
            continue
        done.append((one, rows(one)))
        _tell(name, *done[-1], time.perf_counter() - begun)
    if options.plot:
        plot(done, options.plot)


def _winners(found: dict[str, Path], names: Iterable[str], methods: list[str], jobs: int) -> None:
    """What `plan --search` finds on half of a recording, beside C3PO's ladder learnt there.

    A request may cost what all models together cost at most: nothing is bounded but the choice.
    Measured on the other half. C3PO's cost at the winner's quality is read from the hull of its
    ladder there, a coin between two places allowed; intervals over the questions.
    """
    table = []
    for name in names:
        recording = load_recording(found[name])
        drawn = draw(recording, MODELS.get(name) or candidates(recording), 5, 0)
        order = np.random.default_rng(0).permutation(drawn.questions)
        half = np.sort(order[: drawn.questions // 2]), np.sort(order[drawn.questions // 2 :])
        dearest = Cost(sum(int(cost.sum(axis=1).max()) for cost in drawn.cost))
        learn, other = drawn.select(half[0]), drawn.select(half[1])
        plan = search_plan(
            drawn.recording.select(half[0]), Promise(dearest, 0.2, "marginal"),
            models=drawn.models, methods=methods, samples=list(drawn.samples), jobs=jobs,
        )  # fmt: skip
        right = rightness(other)
        cost, good = _on(plan.policy, other, right)
        ladder = try_all(C3po.fit(learn, rightness(learn)), other, right)
        columns = np.concatenate([[cost, good], ladder.cost, ladder.right]).T.astype(float)
        means = np.concatenate([columns.mean(axis=0)[None], resampled_means(columns, 500, 0)])
        saved = np.array([_saved(row) for row in means])
        reached = np.isfinite(saved)
        table.append(
            [
                name,
                str(plan.evidence[0]["name"]),
                f"{100 * good.mean():.1f}",
                f"{100 * ladder.qualities.max():.1f}",
                _span(float(saved[0]), saved[reached], ".0f") if reached[0] else "not reached",
                f"{100 * reached.mean():.0f}",
            ]
        )
    print(markdown(WINNERS, table))


WINNERS = [
    "recording", "winner", "its quality", "C3PO's best", "saved of C3PO's cost at that quality, %",
    "resamples in which C3PO reaches it, %",
]  # fmt: skip


def _saved(means: Any) -> float:
    """The share saved of what C3PO needs for the winner's quality; NaN where it has it nowhere."""
    places = (len(means) - 2) // 2
    x, y = hull(means[2 : 2 + places], means[2 + places :])
    if means[1] > y[-1]:
        return float("nan")
    return 1 - float(means[0]) / float(np.interp(means[1], y, x))


def _on(policy: Any, drawn: Draw, right: list[Any]) -> tuple[Any, Any]:
    """Costs and rightness of a plan's policy on questions."""
    learnt = C3po(policy) if isinstance(policy, Cascade) else policy
    decided = learnt.decide(drawn)
    return decided.cost.astype(float), decided.take(right)


def _span(value: float, resampled: Any, form: str) -> str:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return f"{100 * value:{form}} ({100 * low:{form}} to {100 * high:{form}})"


def _tell(name: str, one: Bench, found: list[Row], seconds: float) -> None:
    print(
        f"**{name}**: {one.draw.questions} questions, {len(one.models)} models "
        f"({one.models[0]} to {one.models[-1]}), up to {max(one.draw.samples)} samples, "
        f"learnt from {one.learnt_from} or more; {seconds:.0f} s\n"
    )
    print(markdown(HEAD, [_row(row) for row in found if not row.skipped]), end="\n\n")
    for row in found:
        if row.skipped:
            print(f"{row.name} left out: {row.skipped}")
    print()


HEAD = [
    "policy", "quality at half the cost", "cost, USD", "over the random mix", "over cost, most",
    "saving at equal quality", "quality there", "AIQ", "APGR", "CPT(50)", "CPT(80)", "to Pareto",
    "to oracle",
]  # fmt: skip


def _row(row: Row) -> list[str]:
    return [
        f"**{row.name}**" if row.gains or row.saves else row.name,
        _number(row.quality, 100, 1),
        "" if row.cost_usd_mean is None else f"{row.cost_usd_mean:.2g}",
        _beyond(row.gain, row.gain_interval, "+.1f"),
        f"{100 * max(row.violations):.0f}" if row.violations else "",
        _beyond(row.saving, row.saving_interval, ".0f"),
        _plain(row.lost, row.lost_interval),
        _number(row.aiq, 100, 1),
        _number(row.apgr, 1, 3),
        _number(row.cpt_50, 100, 0),
        _number(row.cpt_80, 100, 0),
        _number(row.pareto_distance, 100, 1),
        _number(row.oracle_gap, 100, 1),
    ]


def _number(value: float | None, scale: float, digits: int) -> str:
    return "" if value is None else f"{scale * value:.{digits}f}"


def _plain(value: float | None, interval: Any) -> str:
    if value is None:
        return ""
    return f"{100 * value:+.1f} ({100 * interval[0]:+.1f} to {100 * interval[1]:+.1f})"


def _beyond(value: float | None, interval: Any, form: str) -> str:
    if value is None:
        return ""
    if interval[0] <= 0 <= interval[1]:
        return "n. s."
    low, high = (format(100 * bound, form) for bound in interval)
    return f"{format(100 * value, form)} ({low} to {high})"


def _speed(methods: Iterable[str], questions: int) -> None:
    recording = _made_up(questions)
    drawn = draw(recording, ["m0", "m1", "m2", "m3"], 1)
    learn = drawn.select(np.arange(min(2000, questions // 2)))
    table = []
    for name in methods:
        begun = time.perf_counter()
        try:
            policy = METHODS[name].fit(learn, rightness(learn))[PLACE]
        except DataError as error:
            print(f"{name} left out: {error}")
            continue
        fitted = time.perf_counter() - begun
        memo: dict[object, Any] = {}
        first = _seconds(lambda policy=policy, memo=memo: policy.decide(drawn, memo))
        again = _seconds(lambda policy=policy, memo=memo: policy.decide(drawn, memo))
        served = asyncio.run(_served(policy, drawn))
        table.append(
            [
                name,
                f"{fitted:.2f}",
                f"{questions / first:,.0f}",
                f"{questions / again:,.0f}",
                f"{served:,.0f}",
            ]
        )
    head = [
        "policy", f"fit on {learn.questions}, s", "decides/s", "the next of a ladder/s",
        "served path, questions/s",
    ]  # fmt: skip
    print(markdown(head, table), end="\n\n")
    promise = Promise(Cost.from_usd("0.002"), 0.2, "pac", 0.1)
    spent = _seconds(
        lambda: search_plan(
            recording,
            promise,
            models=["m0", "m1", "m2", "m3"],
            methods=list(methods),
            samples=1,
            jobs=2,
        )
    )
    print(f"plan --search over {len(list(methods))} policies, {questions} questions: {spent:.0f} s")
    large = _made_up(100_000)
    for signal, samples in (("conf_raw", 1), ("agreement", 1)):
        spent = _seconds(
            lambda signal=signal, samples=samples: make_plan(
                large, ["m0", "m1", "m2", "m3"], promise, samples=samples, signal=signal
            )
        )
        print(f"plan by {signal}, 100,000 questions x 4 models: {spent:.1f} s")


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


async def _served(policy: Learnt, drawn: Draw) -> float:
    """Questions a second through `Operation.call`, on recorded answers."""
    some = drawn.select(np.arange(min(SERVED, drawn.questions)))
    models, prices = recorded_models(some), PriceBook()
    prompts = some.recording.table["prompt"].take(pa.array(some.rows[0][:, 0])).to_pylist()
    requests = [
        Request((Message("user", prompt),), question=name)
        for name, prompt in zip(some.recording.questions, prompts, strict=True)
    ]
    await policy.answer(requests[0], Operation(models, prices=prices))
    begun = time.perf_counter()
    for request in requests:
        await policy.answer(request, Operation(models, prices=prices))
    return len(requests) / (time.perf_counter() - begun)


def _made_up(questions: int, models: int = 4, seed: int = 0) -> Recording:
    """Stronger models are right more often; words of the prompt and a confidence tell how hard."""
    rng = np.random.default_rng(seed)
    hard = rng.random(questions)
    words = np.array(["sum", "list", "prove", "name", "why", "when", "draw", "solve"])
    chosen = words[(hard * 6).astype(int)[:, None] + rng.integers(0, 3, (questions, 4))]
    prompts = [f"{' '.join(row)} {number}" for number, row in enumerate(chosen)]
    columns: dict[str, list[Any]] = {}

    def add(name: str, values: Iterable[Any]) -> None:
        columns.setdefault(name, []).extend(values)

    for model in range(models):
        skill = 0.4 + 0.55 * (model + 1) / models
        right = rng.random(questions) < np.clip(skill + 0.5 - hard, 0.05, 0.98)
        wrong = rng.integers(1, 4, questions)
        add("question", (f"q{number:06d}" for number in range(questions)))
        add("prompt", prompts)
        add("model", [f"m{model}"] * questions)
        add("sample", [0] * questions)
        add("answer", np.where(right, 0, wrong).astype(str))
        add("correct", right.astype(float))
        add("cost_usd", rng.uniform(0.5, 1.5, questions) * 10.0**model * 3e-6)
        add("output_tokens", rng.integers(20, 200, questions))
        add("mean_logprob", -rng.exponential(np.where(right, 0.3, 0.8)))
        add("min_logprob", -rng.exponential(np.where(right, 1.0, 2.0)))
        add("conf_raw", rng.normal(right, 1.0))
        add("conf_cost_usd", np.full(questions, 10.0**model * 1e-6))
    return from_table(pa.table(columns), "made-up")


if __name__ == "__main__":
    main()
