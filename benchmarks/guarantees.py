"""Do plans keep their promises? Plan on a random half of a recording, replay on the other.

`python benchmarks/guarantees.py DIR` prints three tables: whether the promises held, what the
plans bought beside a random mix of models at equal cost, and each model alone. With `--power`
it prints another instead: how often rules of PAC certification refuse the tightest budgets.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import _power
import numpy as np
from _common import environment, markdown, recordings
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

from farthing.core.errors import InfeasibleError
from farthing.core.money import Cost
from farthing.models.draw import draw
from farthing.models.recording import Recording, load_recording
from farthing.plan import Promise, make_plan, replay_plan
from farthing.plan.calibrate import calibrate
from farthing.plan.evaluate import Result, apply_candidate, baselines, single
from farthing.plan.outcomes import Outcomes
from farthing.risk.binomial import interval
from farthing.risk.bootstrap import mean_interval

DELTA = 0.1
CHUNK = 5

GPT = ("gpt-3.5-turbo@t0.4/cot1", "gpt-3.5-turbo@t0.4/pot1", "gpt-4@sc/cot1")
LLAMA = ("llama3.2-1b", "llama3.2-3b", "llama3.1-8b", "llama3.1-70b", "llama3.1-405b")

# Budgets between the costs of the models' answers, so that they bind, and alphas.
BUDGETS = {
    "mot-date": [
        ("0.008", 0.1),
        ("0.02", 0.1),
        ("0.05", 0.1),
        ("0.006", 0.35),
        ("0.02", 0.35),
    ],
    "mzelling-llama-gsm8k": [("0.0005", 0.1), ("0.0008", 0.1), ("0.0015", 0.1)],
    "mzelling-llama-triviaqa": [("0.00015", 0.1), ("0.00025", 0.1), ("0.0003", 0.1)],
    "mzelling-llama-mmlu": [("0.0003", 0.1), ("0.0005", 0.1), ("0.0008", 0.1)],
}


@dataclass(frozen=True)
class Case:
    """A recording with the models, the samples and the signal of its plans."""

    path: Path
    models: tuple[str, ...]
    samples: int
    signal: str

    @property
    def promises(self) -> list[Promise]:
        """All budgets and alphas, in both modes."""
        asked = BUDGETS.get(self.path.stem) or _between(self)
        return [
            Promise(Cost.from_usd(budget), alpha, mode, DELTA if mode == "pac" else None)
            for budget, alpha in asked
            for mode in ("marginal", "pac")
        ]


@dataclass(frozen=True)
class Held:
    """A plan on the questions it was not made on."""

    violation: float
    violation_whole: float
    quality: float
    cost: float
    regret: float
    random: float | None


@dataclass(frozen=True)
class Split:
    """One split: each model alone on the held-out half, and the plans (None if refused)."""

    singles: list[tuple[float, float]]
    plans: list[Held | None]


def cases(directory: Path) -> tuple[list[Case], list[str]]:
    """What is to be run, and what needs no run."""
    found, notes = [], []
    for path in recordings(directory, "*.parquet"):
        if path.stem == "mot-date":
            found += [Case(path, GPT, 5, s) for s in ("agreement", "pooled-agreement")]
        elif path.stem.startswith("mzelling-llama-"):
            recording = whole(path)
            signals = ["conf_raw"]
            for signal in ("min_logprob", "mean_logprob"):
                if signal not in recording.table.column_names:
                    continue
                values = recording.floats(signal)
                if np.isnan(values).all():
                    continue
                if np.array_equal(values, recording.floats("conf_raw")) and not np.any(
                    recording.floats("conf_cost_usd")
                ):
                    notes.append(
                        f"`{signal}` of {path.stem} is `conf_raw` in every row and cost nothing, "
                        "so its rows would be the same."
                    )
                else:
                    signals.append(signal)
            found += [Case(path, LLAMA, 1, signal) for signal in signals]
    return found, notes


@cache
def whole(path: Path) -> Recording:
    """A recording, read once in each process."""
    return load_recording(path)


def _between(case: Case) -> list[tuple[str, float]]:
    cost = draw(whole(case.path), case.models, case.samples).cost[-1].sum(axis=1)
    return [(f"{np.quantile(cost, q) / 1e12:.2g}", 0.2) for q in (0.4, 0.8)]


def run_split(case: Case, seed: int, check: bool) -> Split:
    """Plans of one half on the other; with `check`, by the plan's own policy too."""
    recording = whole(case.path)
    order = np.random.default_rng(seed).permutation(len(recording.questions))
    half = len(order) // 2
    mine, other = recording.select(order[:half]), recording.select(order[half:])
    drawn = draw(mine, case.models, case.samples, seed)
    held = Outcomes(draw(other, case.models, case.samples, seed), case.signal)
    every = Outcomes(draw(recording, case.models, case.samples, seed), case.signal)
    plans: list[Held | None] = []
    for promise in case.promises:
        try:
            found = calibrate(drawn, promise, signal=case.signal, seed=seed)
        except InfeasibleError:
            plans.append(None)
            continue
        result = apply_candidate(held, found.chosen)
        budget = promise.budget.pico
        rows = {row.name: row for row in baselines(held, result.cost_usd_mean)}
        quality = result.quality
        plans.append(
            Held(
                float(result.violated(budget).mean()),
                float(apply_candidate(every, found.chosen).violated(budget).mean()),
                float("nan") if quality is None else quality,
                result.cost_usd_mean,
                float(result.regret.mean()),
                rows["random"].quality,
            )
        )
        if check:
            _check(case, mine, other, promise, seed, result)
    singles = [single(held, model) for model in range(len(case.models))]
    return Split(
        [(float("nan") if r.quality is None else r.quality, r.cost_usd_mean) for r in singles],
        plans,
    )


def _check(
    case: Case,
    mine: Recording,
    other: Recording,
    promise: Promise,
    seed: int,
    fast: Result,
) -> None:
    """`farthing plan` makes the same plan and `farthing replay` does the same with it."""
    plan = make_plan(
        mine, case.models, promise, samples=case.samples, signal=case.signal, seed=seed
    )
    done = replay_plan(plan, other, seed=seed).result
    for name in ("cost", "regret", "correct", "answered"):
        np.testing.assert_array_equal(getattr(done, name), getattr(fast, name), err_msg=name)


def run_chunk(case: Case, seeds: list[int]) -> tuple[Case, list[int], list[Split]]:
    """Some splits; the first of all is checked against the plan's own policy."""
    return case, seeds, [run_split(case, seed, check=seed == 0) for seed in seeds]


def run_all(todo: list[Case], splits: int, jobs: int) -> dict[Case, list[Split]]:
    """All splits of all cases, with a progress bar."""
    chunks = [list(range(at, min(at + CHUNK, splits))) for at in range(0, splits, CHUNK)]
    found: dict[Case, list[Split | None]] = {case: [None] * splits for case in todo}
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True))
    with bar, ProcessPoolExecutor(jobs) as pool:
        task = bar.add_task("splits", total=splits * len(todo))
        futures = [pool.submit(run_chunk, case, chunk) for case in todo for chunk in chunks]
        for future in as_completed(futures):
            case, seeds, done = future.result()
            for seed, split in zip(seeds, done, strict=True):
                found[case][seed] = split
            bar.advance(task, len(seeds))
    return {case: [s for s in list_ if s is not None] for case, list_ in found.items()}


def power_split(case: Case, seed: int) -> list[dict[str, _power.Bought | None]]:
    """What each rule of certification buys on the held-out half, for each of the budgets."""
    recording = whole(case.path)
    order = np.random.default_rng(seed).permutation(len(recording.questions))
    half = len(order) // 2
    mine, other = recording.select(order[:half]), recording.select(order[half:])
    drawn = draw(mine, case.models, case.samples, seed)
    held = Outcomes(draw(other, case.models, case.samples, seed), case.signal)
    every = Outcomes(draw(recording, case.models, case.samples, seed), case.signal)
    found = []
    for budget, alpha in _power.TIGHT:
        promise = Promise(Cost.from_usd(budget), alpha, "pac", DELTA)
        chosen = _power.chosen(drawn, promise, case.signal, seed)
        found.append(
            {
                rule: None if one is None else _power.bought(one, held, every, promise)
                for rule, one in chosen.items()
            }
        )
    return found


def report_power(directory: Path, splits: int, jobs: int) -> str:
    """The table of `--power`, on mot-date."""
    parts = [environment(), f"mot-date, {splits} random splits in halves, pac, delta {DELTA}."]
    head = ["budget", "alpha", "rule", "refused", "accuracy", "USD", "regret", "over alpha"]
    for case in (case for case in cases(directory)[0] if case.path.stem == "mot-date"):
        with ProcessPoolExecutor(jobs) as pool:
            found = list(pool.map(power_split, [case] * splits, range(splits), chunksize=CHUNK))
        asked = [[budget, f"{alpha:g}"] for budget, alpha in _power.TIGHT]
        table = markdown([*head, "graph less this"], _power.rows(found, asked))
        parts += [f"Signal {case.signal}:", table]
    return "\n\n".join(parts) + "\n"


def verdict(value: float, low: float, limit: float) -> str:
    """Whether a rate keeps below its limit, the interval's lower end allowed for."""
    if value <= limit:
        return "holds"
    return "holds within its interval" if low <= limit else "**fails**"


def promise_rows(found: dict[Case, list[Split]]) -> Iterator[list[str]]:
    """The first table: violations."""
    for case, splits in found.items():
        for place, promise in enumerate(case.promises):
            kept = [plan for split in splits if (plan := split.plans[place]) is not None]
            rates = np.array([plan.violation for plan in kept])
            n = len(kept)
            row = [case.path.stem, case.signal, *_asked(promise), str(len(splits) - n)]
            if not n:
                yield [*row, "", "", "", "refused"]
                continue
            mean, (low, high) = rates.mean(), mean_interval(rates)
            over = int((rates > promise.alpha).sum())
            all_over = sum(plan.violation_whole > promise.alpha for plan in kept)
            if promise.mode == "marginal":
                word = verdict(mean, low, promise.alpha)
            else:
                word = verdict(over / n, interval(over, n)[0], DELTA)
            yield [
                *row,
                f"{mean:.4f} ({low:.4f} to {high:.4f})",
                _share(over, n),
                _share(all_over, n),
                word,
            ]


def value_rows(found: dict[Case, list[Split]]) -> Iterator[list[str]]:
    """The second table: what the plans bought."""
    for case, splits in found.items():
        for place, promise in enumerate(case.promises):
            kept = [plan for split in splits if (plan := split.plans[place]) is not None]
            if not kept:
                continue
            quality = np.array([plan.quality for plan in kept])
            row = [
                case.path.stem,
                case.signal,
                *_asked(promise),
                f"{quality.mean():.3f}",
                f"{np.mean([plan.cost for plan in kept]):.3g}",
                f"{np.mean([plan.regret for plan in kept]):.3f}",
            ]
            mixed = np.array([np.nan if p.random is None else p.random for p in kept])
            known = ~np.isnan(mixed) & ~np.isnan(quality)
            if not known.any():
                yield [*row, "", "", "unknown"]
                continue
            gain = (quality - mixed)[known]
            low, high = np.quantile(gain, [0.025, 0.975])
            word = "better" if low > 0 else "**worse**" if high < 0 else "no clear difference"
            yield [
                *row,
                f"{mixed[known].mean():.3f}",
                f"{gain.mean():+.3f} ({low:+.3f} to {high:+.3f})",
                word,
            ]


def single_rows(found: dict[Case, list[Split]]) -> Iterator[list[str]]:
    """The third table: each model alone on the held-out halves."""
    seen = set()
    for case, splits in found.items():
        if case.path in seen:
            continue
        seen.add(case.path)
        means = np.mean([split.singles for split in splits], axis=0)
        for model, (quality, cost) in zip(case.models, means, strict=True):
            yield [case.path.stem, model, f"{quality:.3f}", f"{cost:.3g}"]


def _asked(promise: Promise) -> list[str]:
    return [str(promise.budget), f"{promise.alpha:g}", promise.mode]


def _share(count: int, n: int) -> str:
    low, high = interval(count, n)
    return f"{count / n:.3f} ({low:.3f} to {high:.3f})"


def report(found: dict[Case, list[Split]], notes: list[str]) -> str:
    """All that is printed."""
    asked = ["recording", "signal", "budget", "alpha", "mode"]
    splits = len(next(iter(found.values())))
    checked = sum(plan is not None for done in found.values() for plan in done[0].plans)
    parts = [
        environment(),
        f"{splits} random splits in halves; delta {DELTA} in pac mode. On the first split "
        f"`make_plan` and `replay_plan` gave the same as the tables, question by question, for all "
        f"{checked} plans.",
        *notes,
        markdown(
            [
                *asked,
                "refused",
                "mean violation (95 %)",
                "splits over alpha, held-out half",
                "splits over alpha, whole recording",
                "verdict",
            ],
            promise_rows(found),
        ),
        markdown(
            [
                *asked,
                "accuracy",
                "USD",
                "regret",
                "random mix",
                "plan less mix (95 % of splits)",
                "plan is",
            ],
            value_rows(found),
        ),
        markdown(["recording", "model alone", "accuracy", "USD"], single_rows(found)),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, metavar="DIR", help="of the recordings")
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--power", action="store_true", help="compare rules of certification")
    parser.add_argument("--out", type=Path, help="write the tables here too")
    given = parser.parse_args()
    todo, notes = cases(given.directory)
    if not todo:
        print(f"skipped: none of the recordings in {given.directory}", file=sys.stderr)
        return
    if given.power:
        text = report_power(given.directory, given.splits, given.jobs)
    else:
        text = report(run_all(todo, given.splits, given.jobs), notes)
    print(text)
    if given.out:
        given.out.write_text(text)


if __name__ == "__main__":
    main()
