"""`farthing check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farthing.cli._app import EXIT_ERROR, app, out, print_json

EXIT_WARNING = 3
_STYLES = {"ok": "green", "warning": "yellow", "error": "red"}


@app.command("check")
def check(
    config: Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")] = Path(
        "farthing.toml"
    ),
    plan: Annotated[
        list[Path] | None, typer.Option("--plan", help="A plan to look at as well; repeatable.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no upstream.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look over a configuration: its plans, prices, ledger, variables and upstreams.

    Changes nothing and costs nothing. Exit code 0 if all is well, 3 with warnings, 1 with errors.
    """
    from farthing.gateway.checking import check as look

    findings = look(config, plans=plan or (), offline=offline)
    levels = {finding.level for finding in findings}
    if as_json:
        told = [{"level": f.level, "what": f.what, "message": f.message} for f in findings]
        print_json({"ok": levels <= {"ok"}, "findings": told})
    else:
        for finding in findings:
            out.print(f"{finding.level:7}", style=_STYLES[finding.level], end=" ")
            out.print(f"{finding.what}: {finding.message}", markup=False, soft_wrap=True)
    if "error" in levels:
        raise typer.Exit(EXIT_ERROR)
    if "warning" in levels:
        raise typer.Exit(EXIT_WARNING)
