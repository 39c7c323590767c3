"""The exact search of thresholds beside brute force over a grid, and how it grows.

`python benchmarks/search.py` prints two tables. All data are made up from a seed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from _common import environment, markdown

from farthing.models.draw import Draw, draw
from farthing.models.recording import Recording, from_table
from farthing.plan.evaluate import apply, apply_candidate
from farthing.plan.outcomes import Outcomes
from farthing.plan.search import Candidate, frontier, sequences

POINTS = 15
ALPHA = 0.1
PRICE_STEP = 6.0
MIB = 2**20

Thresholds = tuple[float, ...]  # of the models but the last; above 1 the model is skipped
Figures = tuple[int, int]  # violations, regret
Ask = Callable[[int, int], tuple[int, float, float]]
"""Of a model and a question: the commonest answer, its share of the samples, what they cost."""


def made_up(questions: int, models: int, samples: int, seed: int) -> Recording:
    """Hard questions are hard for all models; stronger ones are right more often, and dearer."""
    rng = np.random.default_rng(seed)
    shape = (models, questions, samples)
    hard = rng.normal(size=questions)[None, :, None]
    skill = np.linspace(0.0, 2.5, models)[:, None, None]
    right = rng.random(shape) < 1 / (1 + np.exp(2 * (hard - skill)))
    answer = np.where(right, 0, np.minimum(rng.geometric(0.5, shape), 6))
    prompt = np.broadcast_to(rng.integers(50, 400, questions)[None, :, None], shape)
    output = np.ceil(rng.lognormal(4, 0.5, shape) * np.exp(0.3 * hard)).astype(np.int64)
    price = (2e-8 * PRICE_STEP ** np.arange(models))[:, None, None]
    score = skill - hard + rng.normal(size=shape) + np.where(right, 1.0, 0.0)
    names = np.array([f"q{i:07d}" for i in range(questions)])
    table = pa.table(
        {
            "question": np.broadcast_to(names[None, :, None], shape).ravel(),
            "model": np.repeat([f"m{i}" for i in range(models)], questions * samples),
            "sample": np.broadcast_to(np.arange(samples), shape).ravel(),
            "answer": pa.array(answer.ravel()).cast(pa.string()),
            "input_tokens": prompt.ravel(),
            "output_tokens": output.ravel(),
            "cost_usd": (price * (prompt + 4 * output)).ravel(),
            "score": score.ravel(),
        }
    )
    return from_table(table, "made up")


def draw_of(questions: int, models: int, samples: int, seed: int) -> Draw:
    """All samples of all models of a made-up recording."""
    recording = made_up(questions, models, samples, seed)
    return draw(recording, recording.models, samples, seed)


def binding_budget(outcomes: Outcomes) -> int:
    """The median of what the strongest model costs: no cascade may ask it often."""
    return int(np.median(outcomes.end(outcomes.strongest).cost))


@dataclass(frozen=True)
class Inputs:
    """What brute force starts from: for each model and question answers and costs."""

    answers: list[list[list[int]]]
    prompt_cost: list[list[int]]
    output_cost: list[list[list[int]]]

    @classmethod
    def of(cls, drawn: Draw) -> Inputs:
        prompts = [drawn.input_cost(model) for model in range(len(drawn.models))]
        return cls(
            [answers.tolist() for answers in drawn.answers],
            [prompt[:, 0].tolist() for prompt in prompts],
            [(cost - prompt).tolist() for cost, prompt in zip(drawn.cost, prompts, strict=True)],
        )


def vote(answers: list[int]) -> tuple[int, float]:
    """The commonest answer (the first of them) and its share."""
    answer, count = Counter(answers).most_common(1)[0]
    return answer, count / len(answers)


def fixed_draw(inputs: Inputs) -> Ask:
    """Vote and cost of all samples, counted anew each time."""

    def ask(model: int, question: int) -> tuple[int, float, float]:
        cost = inputs.prompt_cost[model][question] + sum(inputs.output_cost[model][question])
        return *vote(inputs.answers[model][question]), cost

    return ask


def fresh_draw(inputs: Inputs, seed: int) -> Ask:
    """The same of samples drawn with replacement, anew each time, as the published code does."""
    rng = np.random.RandomState(seed)

    def ask(model: int, question: int) -> tuple[int, float, float]:
        answers, costs = inputs.answers[model][question], inputs.output_cost[model][question]
        drawn = rng.choice(np.arange(len(answers)), len(answers))
        cost = inputs.prompt_cost[model][question] + np.sum([costs[int(i)] for i in drawn])
        return *vote([answers[int(i)] for i in drawn]), cost

    return ask


def plain(ask: Ask, questions: int, thresholds: Thresholds, budget: int) -> Figures:
    """One combination the way of the published code: regret and cost in a pass each."""
    every = [(model, t) for model, t in enumerate([*thresholds, 0.0]) if t <= 1]
    last = len(thresholds)
    violations = regret = 0
    for question in range(questions):
        answer = None
        for model, threshold in every:
            answer, share, _ = ask(model, question)
            if share >= threshold:
                break
        regret += answer != ask(last, question)[0]
    for question in range(questions):
        total = 0.0
        for model, threshold in every:
            _, share, cost = ask(model, question)
            total += cost
            if share >= threshold:
                break
        violations += total > budget
    return violations, regret


def counted_once(
    inputs: Inputs, combinations: Iterable[Thresholds], budget: int
) -> dict[Thresholds, Figures]:
    """Brute force in plain Python that counts votes and sums costs before it starts."""
    ask = fixed_draw(inputs)
    models, questions = len(inputs.answers), len(inputs.answers[0])
    asked = [[ask(model, question) for model in range(models)] for question in range(questions)]
    found = {}
    for thresholds in combinations:
        every = [(model, t) for model, t in enumerate([*thresholds, 0.0]) if t <= 1]
        violations = regret = 0
        for row in asked:
            total, answer = 0.0, None
            for model, threshold in every:
                answer, share, cost = row[model]
                total += cost
                if share >= threshold:
                    break
            regret += answer != row[-1][0]
            violations += total > budget
        found[thresholds] = violations, regret
    return found


def vectorised(
    drawn: Draw, combinations: Iterable[Thresholds], budget: int
) -> dict[Thresholds, Figures]:
    """Brute force with numpy: votes counted once, all questions of a combination at a time."""
    winners, shares, costs = [], [], []
    for model, answers in enumerate(drawn.answers):
        votes = (answers[:, :, None] == answers[:, None, :]).sum(axis=2)
        first = votes.argmax(axis=1)[:, None]
        winners.append(np.take_along_axis(answers, first, 1)[:, 0])
        shares.append(np.take_along_axis(votes, first, 1)[:, 0] / answers.shape[1])
        again = drawn.input_cost(model)[:, 1:].sum(axis=1)
        costs.append(drawn.cost[model].sum(axis=1) - again)
    wrong = [winner != winners[-1] for winner in winners]
    found = {}
    for thresholds in combinations:
        on = np.ones(drawn.questions, np.bool_)
        total = np.zeros(drawn.questions, np.int64)
        regret = 0
        for model, threshold in enumerate(thresholds):
            if threshold > 1:
                continue
            total += on * costs[model]
            accept = on & (shares[model] >= threshold)
            regret += int((accept & wrong[model]).sum())
            on &= ~accept
        total += on * costs[-1]
        found[thresholds] = int((total > budget).sum()), regret
    return found


def best_of(found: dict[Thresholds, Figures], allowed: int) -> tuple[Thresholds, Figures]:
    """The combination of least regret with few enough violations."""
    usable = [(figures[1], at) for at, figures in found.items() if figures[0] <= allowed]
    _, at = min(usable)
    return at, found[at]


def best_step(steps: list[Candidate], allowed: int) -> Candidate:
    """The frontier's cascade of least regret with few enough violations."""
    return [step for step in steps if step.violations <= allowed][-1]


def as_thresholds(candidate: Candidate, models: int) -> Thresholds:
    """A cascade as one threshold for each model but the last."""
    thresholds = [1.1] * (models - 1)
    for model, threshold in zip(candidate.models[:-1], candidate.thresholds, strict=True):
        thresholds[model] = threshold
    if candidate.models[-1] != models - 1:
        thresholds[candidate.models[-1]] = 0.0
    return tuple(thresholds)


def median_time(task: Callable[[], object], runs: int) -> float:
    """Median seconds of `runs` runs; before several, one that does not count."""
    if runs > 1:
        task()
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        task()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def assert_exact(found: list[Figures], outcomes: Outcomes, budget: int) -> None:
    """The frontier has the least regret in `found` for every number of violations."""
    steps = frontier(outcomes, budget)
    for allowed in range(outcomes.questions + 1):
        least = min((regret for v, regret in found if v <= allowed), default=None)
        ours = [step.regret for step in steps if step.violations <= allowed]
        assert (ours[-1] if ours else None) == least, (allowed, ours, least)


def check_votes(inputs: Inputs, outcomes: Outcomes, budget: int) -> int:
    """Compare with plain enumeration of all distinct thresholds; how many combinations."""
    places = outcomes.draw.samples[0]
    every = [votes / places for votes in range(1, places + 1)] + [1.1]
    combinations = list(itertools.product(every, repeat=outcomes.strongest))
    ask = fixed_draw(inputs)
    found = [plain(ask, outcomes.questions, c, budget) for c in combinations]
    assert_exact(found, outcomes, budget)
    return len(combinations)


def check_continuous(questions: int, seed: int) -> int:
    """The same for a signal without ties; how many cascades."""
    outcomes = Outcomes(draw_of(questions, 3, 1, seed), "score")
    budget = binding_budget(outcomes)
    found = []
    for models in sequences(3):
        gates = outcomes.sequence(models).gates
        for thresholds in itertools.product(*(gate.thresholds.tolist() for gate in gates)):
            result = apply(outcomes, models, thresholds)
            found.append((int(result.violated(budget).sum()), int(result.regret.sum())))
    assert_exact(found, outcomes, budget)
    return len(found)


def compare(questions: int, models: int, samples: int, runs: int, seed: int) -> None:
    """Print the table of all ways to search, and what each found."""
    drawn = draw_of(questions, models, samples, seed)
    inputs = Inputs.of(drawn)
    outcomes = Outcomes(drawn, "agreement", "n")
    budget = binding_budget(outcomes)
    allowed = int(ALPHA * questions)
    grid = np.linspace(0.0, 1.1, POINTS).tolist()
    combinations = list(itertools.product(grid, repeat=models - 1))

    def brute(ask: Ask) -> dict[Thresholds, Figures]:
        return {c: plain(ask, questions, c, budget) for c in combinations}

    fixed = fixed_draw(inputs)
    ours = best_step(frontier(outcomes, budget), allowed)
    thresholds, figures = best_of(brute(fixed), allowed)
    check = plain(fixed, questions, as_thresholds(ours, models), budget)
    assert check == (ours.violations, ours.regret)
    called = tuple(model for model, t in enumerate(thresholds) if t <= 1)
    result = apply(outcomes, (*called, models - 1), tuple(thresholds[m] for m in called))
    assert (int(result.violated(budget).sum()), int(result.regret.sum())) == figures
    assert best_of(counted_once(inputs, combinations, budget), allowed)[1] == figures
    assert best_of(vectorised(drawn, combinations, budget), allowed)[1] == figures
    assert ours.regret <= figures[1]

    few = max(2, runs // 10)
    found = str(figures[1])
    others: list[tuple[str, Callable[[], object], int, str]] = [
        (
            "brute force as published, samples drawn for each vote",
            lambda: brute(fresh_draw(inputs, seed)),
            1,
            "varies",
        ),
        ("brute force as published, one fixed draw", lambda: brute(fixed), few, found),
        (
            "brute force, plain Python, votes counted once",
            lambda: counted_once(inputs, combinations, budget),
            few,
            found,
        ),
        (
            "brute force, numpy",
            lambda: vectorised(drawn, combinations, budget),
            few,
            found,
        ),
    ]
    own: list[tuple[str, Callable[[], object], str]] = [
        ("exact, tables already made", lambda: frontier(outcomes, budget), str(ours.regret)),
        (
            "exact, from samples",
            lambda: frontier(Outcomes(drawn, "agreement", "n"), budget),
            str(ours.regret),
        ),
        (
            "exact, from samples, voting stopped early",
            lambda: frontier(Outcomes(drawn), budget),
            "other costs",
        ),
    ]
    times = [median_time(task, runs) for _, task, _ in own]
    rows = []
    for name, task, count, regret in others:
        taken = median_time(task, count)
        ratios = [f"{taken / ours_taken:,.1f}" for ours_taken in times]
        rows.append([name, f"{1e3 * taken:,.2f}", *ratios, regret])
    for (name, _, regret), taken in zip(own, times, strict=True):
        rows.append([name, f"{1e3 * taken:,.2f}", "", "", "", regret])
    print(
        f"{models} models, {samples} samples, {questions} questions, {POINTS} points a threshold; "
        f"at most {allowed} questions may cost more\nthan the strongest model's median.\n"
    )
    columns = [
        "search",
        "median ms",
        "/ tables made",
        "/ from samples",
        "/ stopped early",
        "regret",
    ]
    print(markdown(columns, rows))
    some = min(questions, 20)
    print(
        "\nExact: for every number of violations the regret is the least of all "
        f"{check_votes(inputs, outcomes, budget)} combinations of distinct\nthresholds, and of all "
        f"{check_continuous(some, seed)} cascades of a signal without ties on {some} questions.\n"
    )


def grow(questions: int, models: int, kind: str, seed: int) -> dict[str, float]:
    """One point of the growth table: measured in a process of its own."""
    drawn = draw_of(questions, models, 1 if kind == "continuous" else 5, seed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    allowed = int(ALPHA * questions)
    begin = time.perf_counter()
    outcomes = Outcomes(drawn, "score" if kind == "continuous" else "agreement")
    budget = binding_budget(outcomes)
    steps = frontier(outcomes, budget, [allowed // 2, allowed])
    taken = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    best = best_step(steps, allowed)
    result = apply_candidate(outcomes, best)
    assert int(result.regret.sum()) == best.regret
    return {
        "seconds": taken,
        "before": before * 1024 / MIB,
        "peak": peak * 1024 / MIB,
        "regret": best.regret / questions,
    }


def growth(sizes: list[int], models: list[int], timeout: float, seed: int) -> None:
    """Print the growth table, each row from a fresh process."""
    rows = []
    for kind, count, size in itertools.product(("agreement", "continuous"), models, sizes):
        if count > 4 and size > 10_000:
            continue
        row = [kind, str(count), f"{size:,}"]
        command = [sys.executable, __file__, "--grow", str(size), str(count), kind]
        try:
            done = subprocess.run(
                [*command, "--seed", str(seed)],
                stdout=subprocess.PIPE,
                timeout=timeout,
                check=True,
            )
        except subprocess.TimeoutExpired:
            rows.append([*row, f"over {timeout:.0f}", "", "", ""])
        else:
            got = json.loads(done.stdout)
            sizes_mib = [f"{got[key]:,.0f}" for key in ("peak", "before")]
            rows.append([*row, f"{got['seconds']:.3f}", *sizes_mib, f"{got['regret']:.3f}"])
        print(" ".join(rows[-1]), file=sys.stderr)
    columns = ["signal", "models", "questions", "seconds", "peak MiB", "before MiB", "regret"]
    print(markdown(columns, rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--models", type=int, default=3)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--runs", type=int, default=50, help="of the search; a tenth of the rest")
    parser.add_argument("--sizes", default="500,2000,10000,100000", help="of the growth table")
    parser.add_argument("--growth-models", default="3,4,5")
    parser.add_argument("--timeout", type=float, default=300, help="seconds, of one growth row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--grow", nargs=3, metavar=("QUESTIONS", "MODELS", "SIGNAL"))
    given = parser.parse_args()
    if given.grow:
        questions, models, kind = given.grow
        print(json.dumps(grow(int(questions), int(models), kind, given.seed)))
        return
    print(environment(), end="\n\n")
    compare(given.questions, given.models, given.samples, given.runs, given.seed)
    sizes = [int(size) for size in given.sizes.split(",") if size]
    if sizes:
        models = [int(count) for count in given.growth_models.split(",")]
        growth(sizes, models, given.timeout, given.seed)


if __name__ == "__main__":
    main()
