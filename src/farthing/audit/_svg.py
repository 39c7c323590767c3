"""Small plots as SVG, which need nothing but the page they stand in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

WIDTH, _ROW, _LEFT, _RIGHT = 800, 24, 280, 120


def bars(rows: Sequence[tuple[str, float, str]]) -> str:
    """A bar a row, to the right of zero or to its left: (name, value, label)."""
    low = min(0.0, *(value for _, value, _ in rows))
    high = max(0.0, *(value for _, value, _ in rows))
    place = _scale(low, high)
    parts = []
    for number, (name, value, label) in enumerate(rows):
        y = number * _ROW
        start, end = sorted((place(0.0), place(value)))
        kind = "more" if value > 0 else "less"
        parts.append(_name(name, y))
        parts.append(
            f'<rect class="{kind}" x="{start:.1f}" y="{y + 5}" width="{max(1.0, end - start):.1f}" '
            f'height="14"><title>{escape(name)}: {escape(label)}</title></rect>'
        )
        parts.append(_label(label, y))
    parts.append(_axis(place(0.0), len(rows)))
    return _svg(parts, len(rows) * _ROW + 4)


def spans(rows: Sequence[tuple[str, float, float, float, str]]) -> str:
    """An interval a row with its number marked: (name, low, value, high, label)."""
    place = _scale(0.0, max(high for _, _, _, high, _ in rows))
    parts = []
    for number, (name, low, value, high, label) in enumerate(rows):
        y = number * _ROW
        begin, at, end = place(low), place(value), place(high)
        parts.append(_name(name, y))
        parts.append(
            f'<rect class="span" x="{begin:.1f}" y="{y + 9}" width="{max(1.0, end - begin):.1f}" '
            f'height="6"><title>{escape(name)}: {escape(label)}</title></rect>'
            f'<circle class="mark" cx="{at:.1f}" cy="{y + 12}" r="5"/>'
        )
        parts.append(_label(label, y))
    parts.append(_axis(place(0.0), len(rows)))
    return _svg(parts, len(rows) * _ROW + 4)


def columns(rows: Sequence[tuple[str, float, float]]) -> str:
    """Two columns a row, side by side, such as days: (name, first, second)."""
    height, base, left = 180, 150, 10
    top = max((max(one, other) for _, one, other in rows), default=0.0) or 1.0
    step = (WIDTH - 2 * left) / max(1, len(rows))
    parts = []
    for number, (name, *values) in enumerate(rows):
        for which, value in enumerate(values):
            tall = max(0.0, value) / top * (base - 10)
            x = left + step * (number + 0.1 + 0.4 * which)
            parts.append(
                f'<rect class="{("span", "more")[which]}" x="{x:.1f}" y="{base - tall:.1f}" '
                f'width="{max(0.5, step * 0.4):.1f}" height="{tall:.1f}">'
                f"<title>{escape(name)}: {value:,.6g} USD</title></rect>"
            )
    for number in {0, len(rows) // 2, len(rows) - 1}:
        x = left + step * (number + 0.5)
        anchor = "start" if number == 0 else "end" if number == len(rows) - 1 else "middle"
        parts.append(
            f'<text x="{x:.1f}" y="{height - 12}" text-anchor="{anchor}">'
            f"{escape(rows[number][0])}</text>"
        )
    return _svg(parts, height)


def _scale(low: float, high: float) -> Callable[[float], float]:
    width = WIDTH - _LEFT - _RIGHT
    span = (high - low) or 1.0
    return lambda value: _LEFT + (value - low) / span * width


def _name(text: str, y: int) -> str:
    return f'<text x="{_LEFT - 10}" y="{y + 16}" text-anchor="end">{escape(text)}</text>'


def _label(text: str, y: int) -> str:
    return f'<text x="{WIDTH}" y="{y + 16}" text-anchor="end">{escape(text)}</text>'


def _axis(x: float, rows: int) -> str:
    return f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{rows * _ROW}"/>'


def _svg(parts: Sequence[str], height: int) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">'
        + "".join(parts)
        + "</svg>"
    )
