"""`farthing plan`: from a recording to a certified plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from farthing.cli._app import EXIT_INFEASIBLE, app, err, out, print_json

if TYPE_CHECKING:
    from farthing.core.errors import PlanError
    from farthing.core.money import Cost
    from farthing.plan.calibrate import Promise


@app.command("plan")
def plan(
    recording: Annotated[Path, typer.Argument(help="Recording (Parquet or JSON Lines).")],
    models: Annotated[str, typer.Option(help="Models, cheap to strong, separated by commas.")],
    budget: Annotated[str, typer.Option(help="Budget of one request in USD.")],
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
        str,
        typer.Option(
            help="agreement, pooled-agreement, mean_logprob, min_logprob or a numeric column."
        ),
    ] = "agreement",
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
    name: Annotated[
        str | None,
        typer.Option(help="By which clients call the plan. Default: the file's name."),
    ] = None,
    out_path: Annotated[Path, typer.Option("--out", help="Where the plan goes.")] = Path(
        "plan.toml"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find the cascade that agrees most with the strongest model within a budget, and certify it.

    Needs no labels. Exit status 3 when no cascade keeps the budget, or when the recording holds
    too few questions for alpha.
    """
    from farthing.core.errors import CalibrationError, InfeasibleError
    from farthing.models.recording import load_recording
    from farthing.plan import file
    from farthing.plan.calibrate import Promise
    from farthing.plan.explain import explain
    from farthing.plan.make import make_plan

    asked = [part.strip() for part in models.split(",") if part.strip()]
    counts = _samples(samples, len(asked))
    promise = Promise(_budget(budget), alpha, mode, delta if mode == "pac" else None)
    try:
        with err.status("searching thresholds"):
            made = make_plan(
                load_recording(recording),
                asked,
                promise,
                samples=counts,
                signal=signal,
                sampling=sampling,
                temperature=temperature,
                answer=answer,
                seed=seed,
                name=name or out_path.stem,
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
    error: PlanError, promise: Promise, models: list[str], samples: list[int]
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
