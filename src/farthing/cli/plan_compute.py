"""`farthing plan-compute`: models, samples and stop rules for a recording, under one budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from farthing.cli._app import app, err, out, print_json
from farthing.cli._names import parts

if TYPE_CHECKING:
    from farthing.plan.compute_choice import Choice
    from farthing.plan.compute_saturation import Saturation


@app.command("plan-compute")
def plan_compute(
    recording: Annotated[Path, typer.Argument(help="Recording with several samples a question.")],
    budget: Annotated[str, typer.Option(help="Mean cost of a request in USD.")],
    models: Annotated[str | None, typer.Option(help="By commas. Default: all.")] = None,
    samples: Annotated[int, typer.Option(help="Of each model, at most.", min=1)] = 16,
    by: Annotated[
        str | None, typer.Option(help="Column whose values are the classes. Default: task.")
    ] = None,
    effort: Annotated[
        str | None,
        typer.Option(
            help="Column that says with how much effort a model was asked: 0 to 1, low, medium "
            "and high, or tokens of thought."
        ),
    ] = None,
    family: Annotated[
        str, typer.Option(help="With --effort: column that names the model that is asked.")
    ] = "base_model",
    effort_by: Annotated[
        Literal["effort", "thinking", "template"],
        typer.Option(help="How plans tell a model of its effort, see the policy effort."),
    ] = "effort",
    sampling: Annotated[
        Literal["calls", "n"] | None,
        typer.Option(
            help="calls: a call a sample. n: as many as are asked for at once in one call, prompt "
            "billed once. Default: as the recording says, else calls."
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(help="Sent when served. Default: as the recording says, else the client's."),
    ] = None,
    alpha: Annotated[
        float, typer.Option(help="Share of requests that may cost more than is certified.")
    ] = 0.1,
    delta: Annotated[float, typer.Option(help="Share of calibrations that may break it.")] = 0.1,
    gain: Annotated[
        float, typer.Option(help="What another sample has to gain to be worth it.")
    ] = 0.01,
    name: Annotated[str, typer.Option(help="Of the plans; a task's name is added.")] = "compute",
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder for a plan file a task.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw of samples and the split.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Choose model, effort, samples and stop rule for each task; say where samples stop paying.

    Half of the questions choose, the other half is what is shown and certifies.
    """
    from farthing.core.errors import DataError
    from farthing.core.money import Cost
    from farthing.models.recording import load_recording
    from farthing.plan.compute_choice import choose
    from farthing.plan.compute_options import efforts
    from farthing.plan.compute_units import units
    from farthing.plan.file import save_plan

    loaded = load_recording(recording)
    asked = None if models is None else parts(models)
    if folder is not None and not folder.is_dir():
        raise DataError(f"{folder}: is no folder")
    variants = None
    if effort is not None:
        variants = efforts(loaded, asked or loaded.models, effort, family, effort_by)
    found = choose(
        loaded, Cost.from_usd(budget), models=asked, samples=samples, by=by, efforts=variants,
        sampling=sampling, temperature=temperature, alpha=alpha, delta=delta, name=name, seed=seed,
    )  # fmt: skip
    saturating, _ = units(
        loaded, asked or list(loaded.models), most=samples, least_gain=gain, seed=seed
    )
    points = {one.model: one.fits for one in saturating}
    if as_json:
        print_json(_json(found, points))
    else:
        _show(found, points, by or "task")
        if max(loaded.counts(model).max() for model in asked or loaded.models) == 1:
            out.print("One sample a question is recorded: no votes were among the choices.")
    if folder is not None:
        for one in found.classes:
            path = folder / f"{one.plan.name.replace('/', '-')}.toml"
            save_plan(one.plan, path)
            err.print(f"Wrote {path}")


def _show(found: Choice, points: dict[str, tuple[Saturation, ...]], by: str) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in (by, "questions", "option", "samples", "right", "USD", "certified USD"):
        left = column in (by, "option")
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    for one in found.classes:
        certificate = one.plan.certificate
        table.add_row(
            one.name or "all", str(one.questions), str(one.option), f"{one.samples:.1f}",
            f"{one.quality:.1%}", f"{one.usd:.3g}",
            f"{certificate.budget}" if certificate else "",
        )  # fmt: skip
    out.print(table)
    low, high = found.quality_interval
    out.print(
        f"Together {found.quality:.1%} right [{low:.1%}, {high:.1%}] at {found.usd:.3g} USD, "
        f"budget {found.budget}; measured on questions that did not choose."
    )
    if not found.within:
        out.print("The mean cost of these questions is above the budget, beyond chance.")
    if found.enough is not None:
        out.print(f"{found.enough} asked once is as good for no more: take that.", style="yellow")
    for model, quality, usd in found.singles:
        out.print(f"{model} asked once: {quality:.1%} at {usd:.3g} USD", style="dim")
    for model, fits in points.items():
        for fit in fits:
            stop = "no" if fit.stop is None else f"{fit.stop}"
            off = (
                "" if fit.misfit is None else f", off by {100 * fit.misfit:+.1f} points further on"
            )
            beyond = " (beyond chance)" if fit.fits is False else ""
            out.print(
                f"{model}, {fit.law}: a right one among N samples saturates at {fit.ceiling:.1%}, "
                f"{stop} samples pay{off}{beyond}"
            )


def _json(found: Choice, points: dict[str, tuple[Saturation, ...]]) -> dict[str, Any]:
    from farthing.bench.compute import saturated
    from farthing.plan.file import as_json as told

    return {
        "budget_usd": float(found.budget),
        "quality": found.quality,
        "quality_interval": found.quality_interval,
        "usd": found.usd,
        "usd_interval": found.usd_interval,
        "within": found.within,
        "enough": found.enough,
        "classes": [
            {
                "task": one.name,
                "questions": one.questions,
                "option": {
                    "model": one.option.model,
                    "samples": one.option.samples,
                    "stop": one.option.stop,
                    "effort": None if one.option.effort is None else one.option.effort.effort,
                },
                "quality": one.quality,
                "quality_interval": one.quality_interval,
                "usd": one.usd,
                "usd_interval": one.usd_interval,
                "samples": one.samples,
                "plan": told(one.plan),
            }
            for one in found.classes
        ],
        "singles": [
            {"model": model, "quality": quality, "usd": usd}
            for model, quality, usd in found.singles
        ],
        "saturation": {
            model: [saturated.told(fit) for fit in fits] for model, fits in points.items()
        },
    }
