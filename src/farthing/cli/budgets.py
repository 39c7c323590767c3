"""`farthing budgets`: how much may be spent, by whom and over what time."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from farthing.cli._app import app, out, print_json
from farthing.cli._ledger import DEFAULT, Db

if TYPE_CHECKING:
    from farthing.budgets.stored import StoredBudget
    from farthing.core.money import Cost

budgets = typer.Typer(
    name="budgets",
    help="Set, list, top up and remove budgets.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(budgets)

Name = Annotated[str, typer.Argument(help="The budget's name.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def amount(text: str) -> Cost:
    """An exact amount in USD."""
    from farthing.core.errors import MoneyError
    from farthing.core.money import Cost

    try:
        return Cost.from_usd(text)
    except MoneyError as error:
        raise typer.BadParameter(str(error)) from error


@budgets.command("set")
def set_budget(
    limit: Annotated[Any, typer.Option(parser=amount, metavar="USD", help="The most to spend.")],
    scope: Annotated[
        str, typer.Option(help="all, key:, user:, team:, model: or plan:NAME, or tag:KEY=VALUE.")
    ] = "all",
    window: Annotated[
        str, typer.Option(help="day, week, month, total, or a rolling length such as 24h.")
    ] = "total",
    name: Annotated[
        str | None, typer.Option(help="By which it is called; from scope and window if not given.")
    ] = None,
    alpha: Annotated[
        float, typer.Option(help="Share of operations that may cost more than was reserved.")
    ] = 0.05,
    mode: Annotated[str, typer.Option(help="quantile or worst-case.")] = "quantile",
    soft: Annotated[bool, typer.Option("--soft", help="Only warn.")] = False,
    per_operation: Annotated[
        Any, typer.Option(parser=amount, metavar="USD", help="The most for one operation.")
    ] = None,
    zone: Annotated[
        str, typer.Option(help="Time zone of a window by the calendar, as Europe/Berlin.")
    ] = "UTC",
    db: Db = DEFAULT,
) -> None:
    """Set a budget, in place of the one of that name if there is one."""
    from farthing.budgets.limits import Budget
    from farthing.budgets.stored import Budgets
    from farthing.budgets.windows import Window

    name = name or re.sub(r"[^A-Za-z0-9_.-]", "-", f"{scope}-{window}")[:64]
    try:
        over = Window.parse(window, zone)
        budget = Budget(name, limit, scope, over, alpha, mode, soft, per_operation)  # type: ignore[arg-type]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    with Budgets(db) as store:
        changed = store.set(budget)
    did = "changed" if changed else "set"
    out.print(f"{name} is {did}: {limit} USD, {scope}, {window}.", soft_wrap=True)


@budgets.command("topup")
def top_up(
    name: Name,
    usd: Annotated[Any, typer.Argument(parser=amount, metavar="USD", help="What to add.")],
    db: Db = DEFAULT,
) -> None:
    """Add prepaid money to a budget with the window total."""
    with _existing(db) as store:
        limit = store.top_up(name, usd)
    out.print(f"{name} is topped up: {limit} USD in all.", soft_wrap=True)


@budgets.command("remove")
def remove(name: Name, db: Db = DEFAULT) -> None:
    """End a budget. What was spent under it stays in the ledger."""
    with _existing(db) as store:
        store.remove(name)
    out.print(f"{name} is removed.", soft_wrap=True)


@budgets.command("list")
def list_all(db: Db = DEFAULT, as_json: AsJson = False) -> None:
    """Show the budgets in force and what is booked under each.

    What is in flight, and what is charged for unknown costs, only the gateway knows.
    """
    from farthing.budgets.spending import list_budgets

    listed = list_budgets(db)
    if as_json:
        print_json({"budgets": [_json(*entry) for entry in listed]})
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for title in ("budget", "scope", "window", "limit USD", "spent USD", "used", "resets"):
        right = title.endswith(("USD", "used"))
        table.add_column(title, no_wrap=title == "budget", justify="right" if right else "left")
    for stored, spent, resets_at in listed:
        budget = stored.budget
        limit = budget.limit
        share = f"{100 * spent.pico / limit.pico:.0f} %" if limit else "–"
        resets = "–" if resets_at is None else f"{resets_at:%Y-%m-%d %H:%M}"
        most = f"{limit} soft" if budget.soft else str(limit)
        told = (str(budget.window), most, _short(spent.usd), share, resets)
        table.add_row(budget.name, budget.scope, *told)
    out.print(table)


def _short(usd: Decimal) -> str:
    return f"{usd:.6f}".rstrip("0").rstrip(".")


def _existing(db: str) -> Any:
    from farthing.budgets.stored import Budgets

    return Budgets(db, create=False)


def _json(stored: StoredBudget, spent: Cost, resets_at: datetime | None) -> dict[str, Any]:
    budget = stored.budget
    return {
        "name": budget.name,
        "scope": budget.scope,
        "window": str(budget.window),
        "zone": budget.window.zone,
        "limit_usd": str(budget.limit),
        "spent_usd": str(spent),
        "resets_at": None if resets_at is None else resets_at.isoformat(),
        "began_at": stored.began_at.isoformat(),
        "alpha": budget.alpha,
        "mode": budget.mode,
        "soft": budget.soft,
        "per_operation_usd": None if budget.per_operation is None else str(budget.per_operation),
    }
