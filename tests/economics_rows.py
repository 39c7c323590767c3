"""Studies made up for tests, with figures that are known."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from farthing.bench.economics.recorded import Recorded, recorded
from farthing.models.recording import from_table


def study(rows: list[dict[str, Any]], **settings: Any) -> Recorded:
    """Rows of question, model, answer, correct and cost, numbered as samples."""
    seen: dict[tuple[str, str], int] = {}
    for row in rows:
        key = row["question"], row["model"]
        row["sample"] = seen.get(key, 0)
        seen[key] = row["sample"] + 1
        row.setdefault("answer", "right" if row.get("correct") else "wrong")
    return recorded(from_table(pa.Table.from_pylist(rows), "made-up"), **settings)


def row(question: str, model: str, correct: float | None, cost: float | None, **more: Any) -> Any:
    """One attempt."""
    return {"question": question, "model": model, "correct": correct, "cost_usd": cost, **more}


def two() -> Recorded:
    """A cheap model right on half the attempts of one question; a dear one right on two of three.

    q0: cheap passes 1 of 2 at 0.01 (0.02 a right answer), dear passes at 1.
    q1: cheap never passes, dear passes at 3.
    q2: nobody ever passes.
    """
    rows = [row("q0", "cheap", c, 0.01) for c in (1.0, 0.0)]
    rows += [row(q, "cheap", 0.0, 0.01) for q in ("q1", "q2")]
    rows += [row("q0", "dear", 1.0, 1.0), row("q1", "dear", 1.0, 3.0), row("q2", "dear", 0.0, 2.0)]
    return study(rows)
