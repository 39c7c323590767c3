"""`farthing report`: what was spent, on what, and what the plans saved."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from farthing.cli._app import app, out, print_json
from farthing.cli._ledger import DEFAULT, Db
from farthing.cli._when import moment
from farthing.cli.prices import open_prices

if TYPE_CHECKING:
    from rich.table import Table

    from farthing.budgets.spending import BudgetStatus
    from farthing.ledger.plan_report import Conformity, PlanReport
    from farthing.ledger.report import Report, Spend
    from farthing.ledger.watches import Watch

_NONE = "–"
_COLUMNS = {
    "input": "input",
    "cache_read": "cached",
    "cache_write": "cache write",
    "cache_write_1h": "1h cache write",
    "input_audio": "audio in",
    "input_image": "images in",
    "output": "output",
    "reasoning": "reasoning",
    "output_audio": "audio out",
}
_ALWAYS = ("input", "output")
_WIDEST, _WIDEST_NAME = 1_000, 40


@app.command("report")
def report(
    db: Db = DEFAULT,
    by: Annotated[
        str,
        typer.Option(
            metavar="model|plan|key|user|team|day|kind|tag:NAME",
            help="What to group spend by; days are in UTC.",
        ),
    ] = "model",
    since: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="TIME", help="Started then or later (ISO, UTC)."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="A configuration, whose prices come first."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Report spend, what plans saved against their strongest model, violations, and budgets."""
    from farthing.budgets.spending import list_budgets
    from farthing.cli.budgets import status_json
    from farthing.ledger.report import make_report

    book, card = open_prices(config)
    made = make_report(db, by=by, since=since, price=lambda model: book.price(card(model)))
    budgets, _ = list_budgets(db)
    if as_json:
        print_json(made.as_json() | {"budgets": [status_json(status) for status in budgets]})
        return
    _print_whole(_spend_table(made))
    out.print(_how_it_is_known(made))
    for plan in made.plans:
        out.print()
        out.print(_plan_text(plan), soft_wrap=True)
    for watch in {watch.plan: watch for watch in made.watches}.values():
        out.print()
        out.print(_watch_text(watch), soft_wrap=True, markup=False)
    for status in budgets:
        out.print()
        out.print(_budget_text(status), soft_wrap=True)


def _print_whole(table: Table) -> None:
    """Print a table that may be wider than the console, so that no number loses digits."""
    unbound = out.options.update_width(_WIDEST)
    widest = out.measure(table, options=unbound).maximum
    if widest > out.width:
        table.width = widest
    out.print(table, crop=False)


def _spend_table(made: Report) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        title=f"Spend by {made.by}",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_footer=len(made.groups) > 1,
    )
    leaves = [leaf for leaf in _COLUMNS if leaf in _ALWAYS or made.total.tokens[leaf]]
    titles = (made.by, "operations", "attempts", "USD", *(_COLUMNS[leaf] for leaf in leaves))
    for title, footer in zip(titles, _cells(made.total, "all", leaves), strict=True):
        if title == made.by:
            table.add_column(title, footer, overflow="fold", max_width=_WIDEST_NAME)
        else:
            table.add_column(title, footer, justify="right", no_wrap=True)
    for group in made.groups:
        table.add_row(*_cells(group, group.name or _NONE, leaves))
    return table


def _cells(spend: Spend, name: str, leaves: list[str]) -> list[str]:
    tokens = (spend.tokens[leaf] for leaf in leaves)
    return [
        name,
        f"{spend.operations:,}",
        f"{spend.attempts:,}",
        f"{spend.spend}{'*' if spend.unknown_cost else ''}",
        *(_NONE if count is None else f"{count:,}" for count in tokens),
    ]


def _how_it_is_known(made: Report) -> str:
    from farthing.ledger.retention import told

    total, ends = made.total, made.outcomes
    lines = [
        "USD and tokens are counted: the tokens that the models told, at exact prices. Input is "
        "without cached tokens, output without reasoning."
    ]
    if total.estimated_usage:
        lines.append(
            f"The tokens of {_share(total.estimated_usage, total.attempts, 'attempts')} are "
            f"estimated: {_share(total.estimated_tokens, total.all_tokens, 'tokens')}, in "
            f"{_share(total.estimated_operations, total.operations, 'operations')}."
        )
    if total.unknown_cost:
        lines.append(
            f"* The cost of {_share(total.unknown_cost, total.attempts, 'attempts')} is unknown "
            "and in no sum. They are in "
            f"{_share(total.unknown_cost_operations, total.operations, 'operations')}, with "
            f"{_share(total.unknown_cost_tokens, total.all_tokens, 'tokens')}."
        )
    if total.unknown_usage:
        lines.append(
            f"The tokens of {_share(total.unknown_usage, total.attempts, 'attempts')} are unknown."
        )
    if total.failed or total.cancelled:
        lines.append(f"Attempts: {total.failed} failed, {total.cancelled} cancelled.")
    if ends["failed"] or ends["cancelled"] or ends["unfinished"] or ends["lost"]:
        lines.append(
            f"Operations: {ends['ok']} answered, {ends['failed']} failed, {ends['cancelled']} "
            f"cancelled, {ends['unfinished'] + ends['lost']} in flight or lost with their process."
        )
    if ends["refused"]:
        lines.append(f"Refused, so that nothing was called: {ends['refused']} operations.")
    if made.stopped:
        lines.append(
            f"Ended by their own cap and answered with what they had: {made.stopped} operations."
        )
    if made.removed is not None:
        lines.append(f"Removed from the ledger, and in no sum: {told(made.removed)}.")
    return "\n".join(lines)


def _share(part: int, whole: int, what: str) -> str:
    share = f" ({part / whole:.1%})" if whole else ""
    return f"{part:,} of {whole:,} {what}{share}"


def _plan_text(plan: PlanReport) -> str:
    lines = [f"Plan {plan.plan}: {plan.operations} operations", f"  {_saving_text(plan)}"]
    lines += [f"  {_conformity_text(certificate)}" for certificate in plan.certificates]
    return "\n".join(lines)


def _saving_text(plan: PlanReport) -> str:
    saving = plan.saving
    if saving is None:
        return (
            f"saving unknown: {plan.strongest or 'the strongest model'} was never asked and has "
            "no known price"
        )
    text = (
        f"{plan.strongest} alone would have cost {float(saving.strongest):.6g} USD "
        f"({saving.basis}; asked itself in {saving.answered_by_strongest} of "
        f"{saving.operations}) beside {saving.spent} USD spent (counted): "
    )
    if saving.share is None or saving.interval is None:
        return text + "too little to tell a saving"
    low, high = saving.interval
    verdict = "" if saving.significant else ", not significant"
    return text + f"saving {saving.share:.1%}, 95% interval {low:.1%} to {high:.1%}{verdict}"


def _conformity_text(certificate: Conformity) -> str:
    alpha = "" if certificate.alpha is None else f", certified at most {certificate.alpha:.3g}"
    text = f"over the budget of {certificate.budget} USD: "
    if certificate.rate is None or certificate.interval is None:
        return f"{text}no operation of known cost{alpha}"
    low, high = certificate.interval
    text += (
        f"{certificate.violations} of {certificate.operations} operations (counted), rate "
        f"{certificate.rate:.3f}, 95% interval {low:.3f} to {high:.3f}{alpha}"
    )
    if certificate.unknown:
        text += f"; {certificate.unknown} more of unknown cost"
    if certificate.alpha is not None and low > certificate.alpha:
        text += "; the certificate does not hold here"
    return text


def _watch_text(watch: Watch) -> str:
    lines = [
        f"Certificate of plan {watch.plan}, watched since {watch.since} (file {watch.digest[:15]}…)"
    ]
    monitor = watch.monitor
    if watch.rate is None or watch.interval is None:
        rate = "no request of known cost"
    else:
        low, high = watch.interval
        rate = (
            f"{monitor.violations} of {watch.operations} requests over {watch.budget} USD "
            f"(counted), rate {watch.rate:.3f}, 95% interval {low:.3f} to {high:.3f}"
        )
    if monitor.unknown:
        rate += f"; {monitor.unknown} more of unknown cost"
    lines.append(f"  {rate}")
    lines.append(
        f"  e-value {watch.e_value:.3g} against a rate of at most {monitor.rate.alpha:.3g}, "
        f"greatest {monitor.rate.peak:.3g}; an alarm at {watch.alarm_e_value:.3g}"
    )
    if monitor.costs is not None:
        lines.append(
            f"  e-value {monitor.costs.e_value:.3g} against costs as recorded, greatest "
            f"{monitor.costs.peak:.3g}; told at {1 / monitor.costs.delta:.3g}"
        )
    if watch.alarm_at is not None:
        lines.append(f"  ALARM since {watch.alarm_at}: the certificate does not hold")
    if watch.drift_at is not None:
        lines.append(f"  Costs are not as they were recorded since {watch.drift_at}")
    if watch.alarm_at is not None or watch.drift_at is not None:
        lines.append(f"  Make the plan anew from what its models answer now: {watch.advice}")
    return "\n".join(lines)


def _budget_text(status: BudgetStatus) -> str:
    budget = status.stored.budget
    used = f", {status.spent.pico / budget.limit.pico:.0%}" if budget.limit else ""
    lines = [
        f"Budget {budget.name} ({budget.scope}, {budget.window}{', soft' if budget.soft else ''})",
        f"  {status.spent} of {budget.limit} USD spent (counted){used}; {status.held} USD held for "
        f"{status.open} requests in flight",
    ]
    if status.assumed:
        lines.append(
            f"  {status.assumed} USD of it for requests of unknown cost, or that were lost: what "
            "was held for them"
        )
    if status.rate is not None:
        low, high = status.interval
        lines.append(
            f"  {status.exceeded} of {status.settled} requests cost more than was held for them: "
            f"rate {status.rate:.3f}, 95% interval {low:.3f} to {high:.3f}, alpha {budget.alpha:g}"
        )
    return "\n".join(lines)
