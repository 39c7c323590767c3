"""An audit as one page that needs nothing else: no network, no scripts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from farthing.audit import _svg
from farthing.audit.causes import CAUSES
from farthing.audit.levers.lever import share
from farthing.audit.run import Audit
from farthing.audit.show import gaps, signed, usd
from farthing.core.files import whole

_MODELS, _DAYS = 25, 120
_STYLE = """
:root { color-scheme: light dark; --ink: #1c1f23; --paper: #fff; --soft: #6b7280; --line: #d5d9df;
  --span: #8aa4c8; --mark: #1f4e8c; --more: #b4532a; --less: #2f7d5b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --paper: #16181c; --soft: #9aa2ad;
  --line: #363b43; --span: #4d6b96; --mark: #9cc0f5; --more: #e08a5f; --less: #6cc39b; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.figures { display: flex; flex-wrap: wrap; gap: 2.5rem; margin: 1rem 0; }
.figures b { display: block; font-size: 1.6rem; font-variant-numeric: tabular-nums; }
.soft, .note { color: var(--soft); } .note { font-size: 13px; }
svg { max-width: 100%; height: auto; } svg text { font-size: 12px; fill: currentColor; }
.span { fill: var(--span); } .mark { fill: var(--mark); } .more { fill: var(--more); }
.less { fill: var(--less); } .axis { stroke: var(--soft); }
"""


def write(audit: Audit, path: Path) -> None:
    """Write the page; there is none if it cannot be finished. DataError if it cannot be written."""
    with whole(path) as part:
        part.write_text(page(audit), encoding="utf-8")


def page(audit: Audit) -> str:
    """The page."""
    found = audit.findings
    body = [
        "<h1>What was spent on inference, and what could be saved</h1>",
        *(
            f"<p class=soft>{escape(source.name)}: {escape(source.title)}"
            f"{escape(', by ' + source.detected) if source.detected else ''}</p>"
            for source in audit.sources
        ),
        _figures(
            (f"{usd(audit.spent)} USD", f"cost of {found.all.lines:,} lines by the price book"),
            (f"{usd(found.all.claimed)} USD", f"claimed by {found.compared:,} of them"),
            (f"{signed(found.all.difference)} USD", "claimed less cost, of these"),
        ),
        *_causes(audit),
        *_gaps(audit),
        *_levers(audit),
        *_models(audit),
        *_days(audit),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Farthing: audit</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _figures(*pairs: tuple[str, str]) -> str:
    cells = "".join(f"<div><b>{escape(big)}</b>{escape(small)}</div>" for big, small in pairs)
    return f"<div class=figures>{cells}</div>"


def _causes(audit: Audit) -> Iterable[str]:
    found = audit.findings
    told = [(CAUSES[name], found.causes[name]) for name in CAUSES if name in found.causes]
    if not told:
        if found.compared:
            yield "<h2>Why claims differ</h2><p>They do not.</p>"
        return
    yield "<h2>Why claims differ</h2>"
    yield _svg.bars(
        [
            (_short(what), float(lines.difference), f"{signed(lines.difference)} USD")
            for what, lines in told
        ]
    )
    rows = []
    for what, lines in told:
        where = ", ".join(f"{log}:{number}" for log, number in lines.examples[:3])
        rows.append((what, f"{lines.lines:,}", signed(lines.difference), where))
        rows += [
            (f"  {detail}", f"{count:,}", signed(difference), "")
            for detail, (count, difference) in lines.details.items()
        ]
    rows.append(("all", "", signed(found.all.difference), ""))
    yield _table(("cause", "lines", "claimed less cost, USD", "such as"), rows)
    yield "<p class=note>A line with two causes is in both.</p>"


def _gaps(audit: Audit) -> Iterable[str]:
    sentences = list(gaps(audit.findings))
    if sentences:
        yield "<h2>What is not in these sums</h2><ul>"
        yield from (f"<li>{escape(sentence)}</li>" for sentence in sentences)
        yield "</ul>"


def _levers(audit: Audit) -> Iterable[str]:
    if not audit.levers:
        return
    levers = [*audit.levers, *([audit.together] if audit.together else [])]
    yield "<h2>What could be saved</h2><p>Each alone. They overlap, so that sums mean nothing.</p>"
    yield _svg.spans(
        [
            (
                _short(lever.title),
                float(lever.low),
                float(lever.saving),
                float(lever.high),
                f"{usd(lever.saving)} USD",
            )
            for lever in levers
        ]
    )
    rows = []
    for lever in levers:
        part = share(lever.saving, audit.spent)
        rows.append(
            (
                lever.title,
                usd(lever.saving),
                f"{usd(lever.low)} to {usd(lever.high)}",
                "" if part is None else f"{part:.1%}",
                "ceiling" if lever.ceiling else lever.how,
                f"{lever.assumption}. {lever.note}",
            )
        )
    yield _table(("lever", "USD", "between", "share", "how", "assumption"), rows)


def _models(audit: Audit) -> Iterable[str]:
    found = audit.findings
    ranked = sorted(found.models.items(), key=lambda item: (-item[1].spent.pico, item[0]))
    yield f"<h2>By model, {min(_MODELS, len(ranked))} of {len(ranked)}</h2>"
    yield _table(
        ("model", "lines", "cost, USD", "claimed, USD", "claimed less cost"),
        [
            (
                name,
                f"{sum_.lines:,}",
                usd(sum_.spent),
                usd(sum_.claimed + sum_.unpriced),
                signed(sum_.difference),
            )
            for name, sum_ in ranked[:_MODELS]
        ],
    )


def _days(audit: Audit) -> Iterable[str]:
    days = sorted(name for name in audit.findings.days if name != "unknown")[-_DAYS:]
    if len(days) < 2:
        return
    yield "<h2>By day</h2><p class=note>Left: cost by the price book. Right: claimed.</p>"
    sums = audit.findings.days
    yield _svg.columns([(d, float(sums[d].spent), float(sums[d].claimed)) for d in days])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=n' if 0 < n < 4 and len(text) < 30 else ''}>{escape(text)}</{tag}>"
            for n, text in enumerate(row)
        )

    lines = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f"<table><tr>{cells(head, 'th')}</tr>{lines}</table>"


def _short(text: str) -> str:
    text = text.partition(":")[0] if len(text) > 36 else text
    return text if len(text) <= 38 else text[:37] + "…"
