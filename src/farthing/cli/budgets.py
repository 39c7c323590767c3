"""`farthing budgets`: how much may be spent, by whom and over what time."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from farthing.cli._app import app, out, print_json
from farthing.cli._ledger import DEFAULT, Db

if TYPE_CHECKING:
    from farthing.budgets.limits import RateLimit
    from farthing.budgets.spending import BudgetStatus
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
    limit: Annotated[
        Any, typer.Option(parser=amount, metavar="USD", help="The most to spend.")
    ] = None,
    requests: Annotated[
        int | None, typer.Option(min=0, help="Instead: the most requests a minute.")
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(min=0, help="Instead: the most tokens a minute.")
    ] = None,
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
    """Set a budget or a rate limit, in place of the one of that name if there is one.

    A budget has --limit; a rate limit has --requests or --tokens, and of the other options only
    --scope and --name.
    """
    from farthing.budgets.limits import Budget, RateLimit
    from farthing.budgets.stored import Budgets
    from farthing.budgets.windows import Window

    kinds = {"limit": limit, "requests": requests, "tokens": tokens}
    given = [kind for kind, value in kinds.items() if value is not None]
    if len(given) != 1:
        raise typer.BadParameter("give one of --limit, --requests and --tokens")
    what = window if limit is not None else given[0]
    name = name or re.sub(r"[^A-Za-z0-9_.-]", "-", f"{scope}-{what}")[:64]
    try:
        over = Window.parse(window, zone)
        rate = None if limit is not None else RateLimit(name, scope, requests, tokens)
        budget = rate or Budget(name, limit, scope, over, alpha, mode, soft, per_operation)  # type: ignore[arg-type]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    with Budgets(db) as store:
        changed = store.set_rate(budget) if isinstance(budget, RateLimit) else store.set(budget)
    did = "changed" if changed else "set"
    told = f"{limit} USD, {scope}, {window}" if rate is None else f"{rate.unit}, {scope}"
    out.print(f"{name} is {did}: {told}.", soft_wrap=True)


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
    """Show the limits in force, what is booked under each budget, and what is held for requests
    in flight."""
    from farthing.budgets.spending import list_budgets

    listed, rates = list_budgets(db)
    if as_json:
        print_json(
            {
                "budgets": [status_json(status) for status in listed],
                "rates": [_rate_json(stored.rate) for stored in rates],
            }
        )
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    titles = ("budget", "scope", "window", "limit USD", "spent USD", "held USD", "used", "resets")
    for title in titles:
        right = title.endswith(("USD", "used"))
        table.add_column(title, no_wrap=title == "budget", justify="right" if right else "left")
    for status in listed:
        budget, limit = status.stored.budget, status.stored.budget.limit
        share = f"{100 * status.spent.pico / limit.pico:.0f} %" if limit else "–"
        resets = "–" if status.resets_at is None else f"{status.resets_at:%Y-%m-%d %H:%M}"
        most = f"{limit} soft" if budget.soft else str(limit)
        amounts = (most, _short(status.spent.usd), _short(status.held.usd))
        table.add_row(budget.name, budget.scope, str(budget.window), *amounts, share, resets)
    if listed or not rates:
        out.print(table)
    for stored in rates:
        out.print(f"{stored.rate.name}: {stored.rate.unit}, {stored.rate.scope}", soft_wrap=True)


def _short(usd: Decimal) -> str:
    return f"{usd:.6f}".rstrip("0").rstrip(".")


def _existing(db: str) -> Any:
    from farthing.budgets.stored import Budgets

    return Budgets(db, create=False)


def status_json(status: BudgetStatus) -> dict[str, Any]:
    """A budget and what counts against it, for programs."""
    stored, budget = status.stored, status.stored.budget
    resets_at = status.resets_at
    return {
        "name": budget.name,
        "scope": budget.scope,
        "window": str(budget.window),
        "zone": budget.window.zone,
        "limit_usd": str(budget.limit),
        "spent_usd": str(status.spent),
        "assumed_usd": str(status.assumed),
        "held_usd": str(status.held),
        "in_flight": status.open,
        "settled": status.settled,
        "exceeded": status.exceeded,
        "exceeded_rate": status.rate,
        "exceeded_interval": list(status.interval),
        "resets_at": None if resets_at is None else resets_at.isoformat(),
        "began_at": stored.began_at.isoformat(),
        "alpha": budget.alpha,
        "mode": budget.mode,
        "soft": budget.soft,
        "per_operation_usd": None if budget.per_operation is None else str(budget.per_operation),
    }


def _rate_json(rate: RateLimit) -> dict[str, Any]:
    return {
        "name": rate.name,
        "scope": rate.scope,
        "requests_per_minute": rate.requests,
        "tokens_per_minute": rate.tokens,
    }
