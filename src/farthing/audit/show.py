"""An audit in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from farthing.audit.causes import CAUSES, UNPRICED
from farthing.audit.findings import Findings, Without
from farthing.audit.levers.lever import Lever, share
from farthing.audit.run import Audit
from farthing.core.money import Cost

_MODELS = 15


def report(audit: Audit) -> RenderableType:
    """Everything that an audit says, in tables."""
    parts: list[RenderableType] = [
        Text(f"{source.name}: {source.title}{_seen(source.detected)}") for source in audit.sources
    ]
    parts += [Text(), *_claims(audit.findings), Text(), _models(audit.findings)]
    if audit.findings.causes:
        parts += [Text(), _causes(audit.findings)]
    parts += [Text(line, style="yellow") for line in gaps(audit.findings)]
    if audit.levers:
        parts += [Text(), _levers(audit.levers, audit.together, audit.spent)]
        parts += [Text(f"{n}. {text}", style="dim") for n, text in enumerate(_notes(audit), 1)]
    return Group(*parts)


def _seen(detected: str) -> str:
    return f", by {detected}" if detected else ", as you said"


def _claims(found: Findings) -> Iterator[Text]:
    yield Text(f"{found.all.lines:,} lines, {usd(found.all.spent)} USD by the price book (counted)")
    if found.compared:
        difference = found.all.difference
        yield Text.assemble(
            f"{found.compared:,} of them claim {usd(found.all.claimed)} USD, and cost "
            f"{usd(found.all.true)}: ",
            (f"difference {signed(difference)} USD", "bold green" if not difference else "bold"),
            f"; {found.equal:,} agree",
        )


def gaps(found: Findings) -> Iterator[str]:
    """What could not be read, priced or compared, a sentence each."""
    for why, lines in found.skipped.items():
        what = "not read" if lines.fault else "passed over"
        yield f"{lines.lines:,} lines {what}: {why} ({_at(lines)})."
    for why, lines in found.unpriced.items():
        names = ", ".join(sorted(lines.names)[:5])
        yield (
            f"{lines.lines:,} lines that claim {usd(lines.claimed)} USD are in no sum: "
            f"{UNPRICED[why]} ({names}; {_at(lines)})."
        )
    if found.unclaimed:
        yield f"{found.unclaimed:,} lines claim no cost; they cost {usd(found.all.unclaimed)} USD."
    if found.estimated:
        yield f"{found.estimated:,} lines tell their tokens in part only: what is not told is none."
    if found.undated:
        yield f"{found.undated:,} lines tell no time: priced as of today."
    if found.ambiguous:
        yield f"{found.ambiguous:,} lines fit another cause as well; the one named came first."


def _at(lines: Without) -> str:
    log = lines.examples[0][0] if lines.examples else ""
    several = {name for name, _ in lines.examples} != {log}
    told = (f"{name}:{number}" if several else str(number) for name, number in lines.examples)
    more = ", ..." if lines.lines > len(lines.examples) else ""
    return f"line {', '.join(told)}{more}"


def _models(found: Findings) -> Table:
    table = _table(f"By model, {min(_MODELS, len(found.models))} of {len(found.models)}, USD")
    table.add_column("model", overflow="fold")
    for name in ("lines", "cost", "claimed", "claimed less cost"):
        table.add_column(name, justify="right", no_wrap=True)
    ranked = sorted(found.models.items(), key=lambda item: (-item[1].spent.pico, item[0]))
    for name, sum_ in ranked[:_MODELS]:
        table.add_row(
            name,
            f"{sum_.lines:,}",
            usd(sum_.spent),
            usd(sum_.claimed + sum_.unpriced),
            signed(sum_.difference),
        )
    return table


def _causes(found: Findings) -> Table:
    table = _table("Why claims differ, USD; a line with two causes is in both")
    table.add_column("cause", overflow="fold")
    table.add_column("lines", justify="right", no_wrap=True)
    table.add_column("claimed less cost", justify="right", no_wrap=True)
    table.add_column("such as line", overflow="fold")
    for name, what in CAUSES.items():
        if (lines := found.causes.get(name)) is None:
            continue
        table.add_row(
            what,
            f"{lines.lines:,}",
            signed(lines.difference),
            ", ".join(str(number) for _, number in lines.examples[:3]),
        )
        for detail, (count, difference) in lines.details.items():
            table.add_row(f"  {detail}", f"{count:,}", signed(difference), "", style="dim")
    table.add_section()
    table.add_row("all", "", signed(found.all.difference), "")
    return table


def _levers(levers: Sequence[Lever], together: Lever | None, spent: Cost) -> Table:
    table = _table("What could be saved, USD, each alone; they overlap, so that sums mean nothing")
    table.add_column("lever", overflow="fold")
    for name in ("saving", "at least", "at most", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("how", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    for number, lever in enumerate(levers, 1):
        _lever(table, lever, spent, str(number))
    if together is not None:
        table.add_section()
        _lever(table, together, spent, str(len(levers) + 1))
    return table


def _lever(table: Table, lever: Lever, spent: Cost, note: str) -> None:
    part = share(lever.saving, spent)
    table.add_row(
        lever.title,
        usd(lever.saving),
        usd(lever.low),
        usd(lever.high),
        "" if part is None else f"{part:.1%}",
        "ceiling" if lever.ceiling else lever.how,
        f"({note})",
    )


def _notes(audit: Audit) -> Iterator[str]:
    for lever in (*audit.levers, *([audit.together] if audit.together else [])):
        text = lever.assumption[:1].upper() + lever.assumption[1:]
        yield f"{text}.{f' {lever.note[:1].upper()}{lever.note[1:]}.' if lever.note else ''}"


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=None, pad_edge=False)


def usd(cost: Cost) -> str:
    """An amount for people: to the cent where it is large, else to four digits."""
    value = cost.usd
    if not value:
        return "0"
    places = 2 if abs(value) >= 100 else min(12, 3 - value.adjusted())
    return f"{round(value, places):,f}"


def signed(cost: Cost) -> str:
    """An amount with its sign; "0" for nothing."""
    return f"+{usd(cost)}" if cost.pico > 0 else usd(cost)
