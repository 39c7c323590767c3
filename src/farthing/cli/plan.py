"""`farthing plan`: from a recording to a certified plan."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from farthing.cli._app import EXIT_INFEASIBLE, app, err, out, print_json
from farthing.cli._names import chosen, parts

if TYPE_CHECKING:
    from farthing.core.errors import PlanError
    from farthing.core.money import Cost
    from farthing.models.recording import Recording
    from farthing.plan.calibrate import Promise
    from farthing.plan.file import Plan


@app.command("plan")
def plan(
    recording: Annotated[Path, typer.Argument(help="Recording (Parquet or JSON Lines).")],
    budget: Annotated[str, typer.Option(help="Budget of one request in USD.")],
    models: Annotated[
        str | None,
        typer.Option(
            help="Models, cheap to strong, separated by commas. "
            "With --search: default all with costs, up to the best."
        ),
    ] = None,
    search: Annotated[
        bool, typer.Option("--search", help="Choose among all policies, not only cascades.")
    ] = False,
    policies: Annotated[
        str | None, typer.Option(help="With --search: among these, by commas.")
    ] = None,
    truth: Annotated[
        Literal["correct", "agreement"] | None,
        typer.Option(
            help="With --search: quality by the recording's marks, or by agreement with the "
            "strongest model. Default: marks, if it has them all."
        ),
    ] = None,
    alpha: Annotated[float, typer.Option(help="Share of requests that may cost more.")] = 0.1,
    samples: Annotated[
        str, typer.Option(help="Samples of each model: one number, or one per model.")
    ] = "5",
    mode: Annotated[
        Literal["marginal", "pac"],
        typer.Option(help="marginal: on average. pac: for all but delta of calibrations."),
    ] = "marginal",
    delta: Annotated[
        float, typer.Option(help="pac mode: share of calibrations that may break alpha.")
    ] = 0.1,
    signal: Annotated[
        str | None,
        typer.Option(
            help="agreement (default), pooled-agreement, mean_logprob, min_logprob or a numeric "
            "column."
        ),
    ] = None,
    sampling: Annotated[
        Literal["calls", "n"] | None,
        typer.Option(
            help="calls: a call a sample. n: one call, prompt billed once. "
            "Default: as the recording says, else calls."
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(help="Sent when served. Default: as the recording says, else the client's."),
    ] = None,
    answer: Annotated[
        str | None,
        typer.Option(
            help="How served answers are read: text, last-line, last-number, choice, regex:... "
            "Default: as the recording says, else text."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw of samples and the split.")] = 0,
    jobs: Annotated[
        int | None,
        typer.Option(help="With --search: processes. Default: as many as cores.", min=1),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="By which clients call the plan. Default: the file's name."),
    ] = None,
    out_path: Annotated[Path, typer.Option("--out", help="Where the plan goes.")] = Path(
        "plan.toml"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find the policy that does best within a budget, and certify it.

    Without --search it is the cascade that agrees most with the strongest model, which needs no
    labels. With it all policies are learnt and compared by cross-validation; the winner is
    certified on questions that none of them has seen.

    Exit status 3 when none keeps the budget, or when the recording holds too few questions for
    alpha.
    """
    from farthing.core.errors import CalibrationError, InfeasibleError
    from farthing.models.recording import load_recording
    from farthing.plan import file
    from farthing.plan.calibrate import Promise
    from farthing.plan.explain import explain

    asked = None if models is None else parts(models)
    _check_options(asked, search=search, signal=signal, sampling=sampling, only=policies or truth)
    counts = _samples(samples, 1 if asked is None else len(asked))
    promise = Promise(_budget(budget), alpha, mode, delta if mode == "pac" else None)
    told: dict[str, Any] = {
        "temperature": temperature, "answer": answer, "seed": seed, "name": name or out_path.stem,
    }  # fmt: skip
    answers = load_recording(recording)
    try:
        if search:
            made = _search(answers, promise, asked, counts, policies, truth, jobs, told)
        else:
            from farthing.plan.make import make_plan

            with err.status("searching thresholds"):
                made = make_plan(
                    answers,
                    asked or [],
                    promise,
                    samples=counts,
                    signal=signal or "agreement",
                    sampling=sampling,
                    **told,
                )
    except (InfeasibleError, CalibrationError) as error:
        if not as_json:
            raise
        print_json(_infeasible(error, promise, asked, counts))
        raise typer.Exit(EXIT_INFEASIBLE) from error
    file.save_plan(made, out_path)
    if as_json:
        print_json(file.as_json(made))
    else:
        out.print(explain(made))
        out.print(f"Written to {out_path}", style="green")


def _search(
    recording: Recording,
    promise: Promise,
    models: list[str] | None,
    samples: list[int],
    policies: str | None,
    truth: Literal["correct", "agreement"] | None,
    jobs: int | None,
    told: dict[str, Any],
) -> Plan:
    from rich.progress import Progress

    from farthing.plan.policy_search import search_plan
    from farthing.plan.selection import METHODS

    names = chosen(policies, METHODS, "--policies")
    with Progress(console=err, transient=True) as bar:
        task = bar.add_task("searching", total=len(names))
        return search_plan(
            recording,
            promise,
            models=models,
            methods=names,
            samples=samples if models is not None else samples[0],
            truth=truth,
            jobs=jobs or os.cpu_count() or 1,
            progress=lambda name, done, _: bar.update(
                task, completed=done, description=f"learnt {name}"
            ),
            **told,
        )


def _check_options(
    models: list[str] | None,
    *,
    search: bool,
    signal: str | None,
    sampling: str | None,
    only: str | None,
) -> None:
    if not search and models is None:
        raise typer.BadParameter("name the models, cheap to strong", param_hint="--models")
    if search and (signal or sampling):
        raise typer.BadParameter(
            "policies choose their own signals; leave out --signal and --sampling",
            param_hint="--search",
        )
    if only and not search:
        raise typer.BadParameter("belongs to --search", param_hint="--policies, --truth")


def _samples(text: str, models: int) -> list[int]:
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: want whole numbers", param_hint="--samples") from error
    return counts * models if len(counts) == 1 else counts


def _budget(text: str) -> Cost:
    from farthing.core.errors import MoneyError
    from farthing.core.money import Cost

    try:
        return Cost.from_usd(text)
    except MoneyError as error:
        raise typer.BadParameter(str(error), param_hint="--budget") from error


def _infeasible(
    error: PlanError, promise: Promise, models: list[str] | None, samples: list[int]
) -> dict[str, Any]:
    """The JSON of a plan that could not be made: the promise asked for, and why not."""
    return {
        "feasible": False,
        "mode": promise.mode,
        "alpha": promise.alpha,
        "delta": promise.delta,
        "n_calibration": getattr(error, "given", None),
        "n_needed": getattr(error, "needed", None),
        "budget_usd": float(promise.budget),
        "feasible_budget_usd": (
            float(usd) if (usd := getattr(error, "feasible_budget_usd", None)) else None
        ),
        "models": models,
        "thresholds": None,
        "samples": samples,
        "expected": None,
        "baselines": None,
        "message": str(error),
    }
