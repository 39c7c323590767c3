"""Options that hold names with commas between them."""

from __future__ import annotations

from collections.abc import Collection

import typer


def parts(text: str) -> list[str]:
    """What stands between the commas, without spaces and empty parts."""
    return [part.strip() for part in text.split(",") if part.strip()]


def chosen(wanted: str | None, known: Collection[str], option: str) -> list[str]:
    """The names that an option wants, all if it is None; BadParameter for one that is not known."""
    names = list(known) if wanted is None else parts(wanted)
    for name in names:
        if name not in known:
            raise typer.BadParameter(
                f"no policy is called {name!r}; known: {', '.join(known)}", param_hint=option
            )
    return names
