"""`farthing certify`: the quality of a plan, from a few labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from farthing.cli._app import EXIT_INFEASIBLE, app, err, out, print_json

if TYPE_CHECKING:
    from farthing.plan.certify import Certified


@app.command("certify")
def certify(
    recording: Annotated[Path, typer.Argument(help="Recording (Parquet or JSON Lines).")],
    labels: Annotated[
        Path, typer.Option(help="CSV file: question,correct and perhaps model,sample.")
    ],
    plan: Annotated[Path | None, typer.Option(help="Plan file whose answers are meant.")] = None,
    model: Annotated[str | None, typer.Option(help="Model whose answers are meant.")] = None,
    judge: Annotated[
        str | None, typer.Option(help="Numeric column of the recording that foretells labels.")
    ] = None,
    confidence: Annotated[
        float, typer.Option(min=0.51, max=0.9999, help="Of each bound by itself.")
    ] = 0.95,
    target: Annotated[
        float | None, typer.Option(min=0, max=1, help="Quality to be reached, 0 to 1.")
    ] = None,
    sequential: Annotated[
        bool,
        typer.Option("--sequential", help="Bounds that hold however often you look and label on."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the draw of the plan's samples.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say from a few labels how good the answers of a plan, or a model, are at least.

    The labelled questions must be a random choice, fixed before their answers were seen. Exit
    status 3 when a target is asked for and not certified.
    """
    from farthing.models.recording import load_recording
    from farthing.plan import certify as certifying
    from farthing.plan.file import load_plan
    from farthing.plan.labels import load_labels

    if (plan is None) == (model is None):
        raise typer.BadParameter("want one of --plan and --model", param_hint="--plan")
    given = load_labels(labels)
    answers = load_recording(recording)
    if plan is not None:
        with err.status("replaying"):
            meant = certifying.plan_answers(load_plan(plan), answers, seed)
    else:
        meant = certifying.model_answers(str(model), answers)
    found = certifying.certify(
        meant,
        answers,
        given,
        path=str(labels),
        judge=judge,
        confidence=confidence,
        target=target,
        sequential=sequential,
    )
    if as_json:
        print_json(certifying.as_json(found))
    else:
        out.print(_words(found), soft_wrap=True)
    if found.verdict not in (None, "met"):
        raise typer.Exit(EXIT_INFEASIBLE)


def _words(found: Certified) -> str:
    judged = f" and {found.judged} answers judged" if found.judged else ""
    lines = [
        f"The quality of {found.name} is at least {found.low:.1%} with confidence "
        f"{100 * found.confidence:.4g}%, from {found.labels} labels{judged}.",
        f"Estimated {found.quality:.1%}, at most {found.high:.1%}; by {found.estimator}, "
        f"{found.guarantee}.",
    ]
    if found.judged and found.effective is not None:
        lines.append(
            f"With the judge, {found.labels} labels tell as much as {found.effective:.0f} alone "
            "(estimated)."
        )
    if found.note:
        lines.append(f"{found.note[0].upper()}{found.note[1:]}.")
    if found.left_out:
        lines.append(f"{found.left_out} questions have no answer, and are left out.")
    if found.verdict == "open":
        lines.append(f"Target {found.target:.1%}: not settled. {_more(found)}")
    elif found.verdict is not None:
        lines.append(f"Target {found.target:.1%}: {found.verdict}.")
    return "\n".join(lines)


def _more(found: Certified) -> str:
    if found.more_labels is None:
        return "It is too near the estimate to be settled by ten million labels (modelled)."
    return (
        f"About {found.more_labels} more labels would settle it, if the estimate stayed as it is "
        "(modelled)."
    )
