"""`farthing keys`: who may come in, and what they may call."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from farthing.cli._app import app, out, print_json
from farthing.cli._ledger import DEFAULT, Db
from farthing.cli._names import parts
from farthing.cli._when import moment

if TYPE_CHECKING:
    from farthing.ledger.keys import KeyState

keys = typer.Typer(
    name="keys",
    help="Make, list, rotate and revoke clients' keys.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(keys)

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_NONE = "–"


def duration(text: str) -> timedelta:
    """A length of time such as 90s, 30m, 12h, 30d or 2w."""
    found = re.fullmatch(r"(\d{1,9})([smhdw])", text)
    if found is None or int(found[1]) * _UNITS[found[2]] > 100 * 365 * 86_400:
        raise typer.BadParameter(f"{text!r} is no length of time such as 90s, 30m, 12h, 30d or 2w")
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])


def end(text: str) -> datetime:
    """An ISO date or time, or a length of time from now."""
    if re.fullmatch(r"\d+[a-z]", text):
        return datetime.now(UTC) + duration(text)
    return moment(text)


def labels(text: str) -> dict[str, str]:
    """Labels such as project=search,env=prod."""
    found = {}
    for item in text.split(","):
        name, equals, value = (part.strip() for part in item.partition("="))
        if not (equals and name and value):
            raise typer.BadParameter(f"{text!r} is no list such as project=search,env=prod")
        found[name] = value
    return found


def names(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(dict.fromkeys(parts(text)))


Name = Annotated[str, typer.Argument(help="The key's name, as reports show it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Expires = Annotated[
    datetime | None,
    typer.Option(parser=end, metavar="TIME", help="An ISO date or time (UTC), or such as 30d."),
]


@keys.command("create")
def create(
    name: Name,
    user: Annotated[str | None, typer.Option(help="Booked as the tag `user`.")] = None,
    team: Annotated[str | None, typer.Option(help="Booked as the tag `team`.")] = None,
    tags: Annotated[
        Any, typer.Option(parser=labels, metavar="A=B,...", help="Booked with every operation.")
    ] = None,
    models: Annotated[
        Any,
        typer.Option(parser=names, metavar="A,B", help="Only these models, and --plans if any."),
    ] = None,
    plans: Annotated[
        Any,
        typer.Option(parser=names, metavar="A,B", help="Only these plans, and --models if any."),
    ] = None,
    admin: Annotated[
        bool, typer.Option("--admin", help="May switch plans off; see `farthing bypass`.")
    ] = False,
    expires: Expires = None,
    db: Db = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Make a key and print its secret, which is shown once and kept only as a hash."""
    from farthing.ledger.key_rows import ADMIN_TAG
    from farthing.ledger.keys import Key, Keys

    if ADMIN_TAG in (tags or {}):
        raise typer.BadParameter(f"the tag {ADMIN_TAG!r} is what --admin sets")
    own = {**(tags or {}), **({ADMIN_TAG: "true"} if admin else {})}
    with Keys(db) as store:
        key = Key(name, user, team, own, models, plans)
        _show_secret(name, store.create(key, expires_at=expires), as_json)


@keys.command("rotate")
def rotate(
    name: Name,
    grace: Annotated[
        Any,
        typer.Option(parser=duration, metavar="TIME", help="How long earlier secrets still do."),
    ] = "0s",
    expires: Expires = None,
    db: Db = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Give a key a new secret; the earlier ones end after --grace. Print the new one, once."""
    with _existing(db) as store:
        _show_secret(name, store.rotate(name, grace=grace, expires_at=expires), as_json)


@keys.command("revoke")
def revoke(name: Name, db: Db = DEFAULT, as_json: AsJson = False) -> None:
    """End a key for good. Gateways refuse it within two seconds."""
    with _existing(db) as store:
        changed = store.revoke(name)
    if as_json:
        print_json({"name": name, "state": "revoked", "changed": changed})
    else:
        out.print(f"{name} {'is' if changed else 'was already'} revoked.", soft_wrap=True)


@keys.command("list")
def list_keys(db: Db = DEFAULT, as_json: AsJson = False) -> None:
    """Show all keys, the ended ones too, but no secrets."""
    from farthing.ledger.keys import list_keys as read_keys

    states = read_keys(db)
    if as_json:
        print_json({"keys": [_json(state) for state in states]})
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for title in ("key", "state", "ends", "user", "team", "tags", "models", "plans"):
        table.add_column(title, overflow="fold")
    for state in states:
        key = state.key
        ends = _NONE if state.ends_at is None else f"{state.ends_at:%Y-%m-%d %H:%M}"
        tags = ", ".join(f"{name}={value}" for name, value in key.tags.items())
        may = (_some(key.models), _some(key.plans))
        if key.models is None and key.plans is None:
            may = ("all", "all")
        row = (key.name, state.state, ends, key.user or _NONE, key.team or _NONE, tags or _NONE)
        table.add_row(*row, *may)
    out.print(table)


def _existing(db: str) -> Any:
    from farthing.ledger.keys import Keys

    return Keys(db, create=False)


def _show_secret(name: str, secret: str, as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "secret": secret})
        return
    print(secret, flush=True)
    print(
        f"This secret of the key {name!r} is not shown again: only its hash is kept.",
        file=sys.stderr,
    )


def _some(allowed: tuple[str, ...] | None) -> str:
    return ", ".join(allowed or ()) or "none"


def _json(state: KeyState) -> dict[str, Any]:
    from farthing.ledger.values import timestamp

    key = state.key
    return {
        "name": key.name,
        "state": state.state,
        "created_at": timestamp(key.created_at),
        "ends_at": None if state.ends_at is None else timestamp(state.ends_at),
        "user": key.user,
        "team": key.team,
        "tags": dict(key.tags),
        "models": None if key.models is None else list(key.models),
        "plans": None if key.plans is None else list(key.plans),
        "secrets": [
            {
                "id": secret.id,
                "created_at": timestamp(secret.created_at),
                "ends_at": None if secret.ends_at is None else timestamp(secret.ends_at),
                "ended_by": None if secret.ends_at is None else secret.ended_by,
            }
            for secret in state.secrets
        ],
    }
