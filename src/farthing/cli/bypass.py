"""`farthing bypass`: every plan answered by its strongest model, without a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farthing.cli._app import app, out, print_json

bypass = typer.Typer(
    name="bypass",
    help="Switch plans off, so that each is answered by its strongest model, and on again.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(bypass)

Config = Annotated[Path, typer.Option("--config", "-c", help="The gateway's configuration.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT = Path("farthing.toml")


@bypass.command("on")
def on(config: Config = DEFAULT, as_json: AsJson = False) -> None:
    """Switch plans off, in all gateways that share the ledger, within two seconds."""
    _set(config, True, as_json)


@bypass.command("off")
def off(config: Config = DEFAULT, as_json: AsJson = False) -> None:
    """Let plans decide again."""
    _set(config, False, as_json)


@bypass.command("status")
def status(config: Config = DEFAULT, as_json: AsJson = False) -> None:
    """Show whether plans are switched off."""
    from farthing.gateway.bypass import read_switch
    from farthing.gateway.config import load
    from farthing.gateway.ledger_address import ledger_address

    switch = read_switch(ledger_address(load(config))[0])
    if as_json:
        print_json({"bypass": switch.on, "since": switch.since})
        return
    since = f" since {switch.since}" if switch.since else ""
    out.print(f"Plans are switched {'off' if switch.on else 'on'}{since}.", soft_wrap=True)


def _set(config: Path, on: bool, as_json: bool) -> None:
    from farthing.gateway.bypass import SwitchEditor
    from farthing.gateway.config import load
    from farthing.gateway.ledger_address import ledger_address

    with SwitchEditor(ledger_address(load(config))[0]) as editor:
        changed = editor.set(on)
    if as_json:
        print_json({"bypass": on, "changed": changed})
        return
    what = "off: each is answered by its strongest model" if on else "on"
    was = "" if changed else " They were before."
    out.print(f"Plans are switched {what}.{was}", soft_wrap=True)
