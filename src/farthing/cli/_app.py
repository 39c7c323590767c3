"""The command-line application and what its commands share."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
import typer.core
from rich.console import Console

from farthing.core.errors import CalibrationError, FarthingError, InfeasibleError

EXIT_ERROR, EXIT_INFEASIBLE, EXIT_INTERRUPTED = 1, 3, 130


class _StoppedError(Exception):
    """Ctrl-C, past typer, which would end without a word."""


class _Commands(typer.core.TyperGroup):
    def invoke(self, context: Any) -> Any:
        try:
            return super().invoke(context)
        except KeyboardInterrupt as error:
            raise _StoppedError from error


app = typer.Typer(
    name="farthing",
    cls=_Commands,
    help="Measures, bounds and cuts what model inference costs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from farthing import __version__

        print(f"farthing {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it and exit.")
    ] = False,
) -> None:
    """Measures, bounds and cuts what model inference costs."""


out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """One JSON object on standard output; unknown is null, never NaN."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def run(call: Callable[[], Any]) -> int:
    """Run the application and turn its errors into messages and exit codes.

    0 done, 1 a FarthingError, 2 a mistake on the command line (printed by typer), 3 no plan
    keeps the promise asked for, 130 interrupted.
    """
    try:
        call()
    except (InfeasibleError, CalibrationError) as error:
        print(f"farthing: {error}", file=sys.stderr)
        return EXIT_INFEASIBLE
    except FarthingError as error:
        print(f"farthing: {error}", file=sys.stderr)
        return EXIT_ERROR
    except BrokenPipeError:
        sys.stderr.close()
        return EXIT_ERROR
    except (_StoppedError, KeyboardInterrupt):
        print("farthing: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0
