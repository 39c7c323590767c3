"""`farthing report`: what was spent, on what, and what the plans saved."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from farthing.cli._app import app, out, print_json
from farthing.cli._ledger import DEFAULT, Db
from farthing.cli._when import moment

if TYPE_CHECKING:
    from rich.table import Table

    from farthing.cost import Price
    from farthing.ledger.plan_report import Conformity, PlanReport
    from farthing.ledger.report import Report, Spend

_NONE = "–"
RARE = ("cached", "reasoning")


@app.command("report")
def report(
    db: Db = DEFAULT,
    by: Annotated[
        str,
        typer.Option(
            metavar="model|plan|key|user|team|day|tag:NAME",
            help="What to group spend by; days are in UTC.",
        ),
    ] = "model",
    since: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="TIME", help="Started then or later (ISO, UTC)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Report spend, what plans saved against their strongest model, and violations."""
    from farthing.ledger.report import make_report

    made = make_report(db, by=by, since=since, price=_published)
    if as_json:
        print_json(made.as_json())
        return
    out.print(_spend_table(made))
    out.print(_how_it_is_known(made))
    for plan in made.plans:
        out.print()
        out.print(_plan_text(plan), soft_wrap=True)


def _published(model: str) -> Price | None:
    from farthing.core.protocols import ModelCard
    from farthing.cost import PriceBook

    return PriceBook().price(ModelCard(model, upstream_name=model))


def _spend_table(made: Report) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        title=f"Spend by {made.by}",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_footer=len(made.groups) > 1,
    )
    titles = (made.by, "operations", "attempts", "USD", "input", "cached", "output", "reasoning")
    footers = _cells(made.total, "all")
    shown = [at for at, title in enumerate(titles) if title not in RARE or footers[at] != "0"]
    for title, footer in ((titles[at], footers[at]) for at in shown):
        justify: Literal["left", "right"] = "left" if title == made.by else "right"
        table.add_column(title, footer, justify=justify, overflow="fold", no_wrap=title != made.by)
    for group in made.groups:
        cells = _cells(group, group.name or _NONE)
        table.add_row(*(cells[at] for at in shown))
    return table


def _cells(spend: Spend, name: str) -> list[str]:
    tokens = {
        leaf: _NONE if count is None else f"{count:,}" for leaf, count in spend.tokens.items()
    }
    return [
        name,
        f"{spend.operations:,}",
        f"{spend.attempts:,}",
        f"{spend.spend}{'*' if spend.unknown_cost else ''}",
        tokens["input"],
        tokens["cache_read"],
        tokens["output"],
        tokens["reasoning"],
    ]


def _how_it_is_known(made: Report) -> str:
    total, ends = made.total, made.outcomes
    lines = [
        "USD and tokens are counted: the tokens that the models told, at exact prices. Input is "
        "without cached tokens, output without reasoning."
    ]
    if total.estimated_usage:
        lines.append(f"The tokens of {total.estimated_usage} attempts are estimated.")
    if total.unknown_cost:
        share = total.unknown_cost / total.attempts
        lines.append(
            f"* The cost of {total.unknown_cost} of {total.attempts} attempts ({share:.1%}) is "
            "unknown and in no sum."
        )
    if total.failed or total.cancelled:
        lines.append(f"Attempts: {total.failed} failed, {total.cancelled} cancelled.")
    if ends["failed"] or ends["cancelled"] or ends["unfinished"]:
        lines.append(
            f"Operations: {ends['ok']} answered, {ends['failed']} failed, {ends['cancelled']} "
            f"cancelled, {ends['unfinished']} in flight or lost with their process."
        )
    return "\n".join(lines)


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
