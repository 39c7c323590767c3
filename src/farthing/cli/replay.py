"""`farthing replay`: a plan on recorded answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farthing.cli._app import app, err, out, print_json


@app.command("replay")
def replay(
    recording: Annotated[Path, typer.Argument(help="Recording (Parquet or JSON Lines).")],
    plan: Annotated[Path, typer.Option("--plan", help="Plan file.")],
    seed: Annotated[int, typer.Option(help="Of the draw of samples.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run a plan over recorded answers: quality, cost, violations and regret, with intervals."""
    from rich.progress import Progress

    from farthing.models.recording import load_recording
    from farthing.plan import explain, file
    from farthing.plan import replay as replaying

    loaded = file.load_plan(plan)
    answers = load_recording(recording)
    with Progress(console=err, transient=True) as bar:
        task = bar.add_task("replaying", total=len(answers.questions))
        done = replaying.replay_plan(
            loaded, answers, seed=seed, progress=lambda n: bar.update(task, completed=n)
        )
    summary = replaying.as_json(done)
    if as_json:
        print_json(summary)
    else:
        out.print(explain.summarise(summary))
