"""What an audit found: claims beside true costs, by cause, by model and by day."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from farthing.audit.causes import CAUSES, UNPRICED, Explanation
from farthing.audit.line import Line, Skipped
from farthing.core.money import Cost

EXAMPLES = 5
NOTHING = Cost(0)
_DETAILS = 50
_MODELS = 10_000


@dataclass(slots=True)
class Found:
    """Lines that differ for one cause.

    Attributes:
        lines: how many; a line with two causes is in both.
        claimed_more, claimed_less: the differences upward and downward; exact.
        details: lines and difference by detail, the first 50.
        examples: of lines, as (log, number).
    """

    lines: int = 0
    claimed_more: Cost = NOTHING
    claimed_less: Cost = NOTHING
    details: dict[str, tuple[int, Cost]] = field(default_factory=dict)
    examples: list[tuple[str, int]] = field(default_factory=list)

    @property
    def difference(self) -> Cost:
        """What the log claims beyond the truth; negative if it claims less."""
        return self.claimed_more + self.claimed_less

    def add(self, difference: Cost, detail: str, where: tuple[str, int]) -> None:
        self.lines += 1
        if difference.pico > 0:
            self.claimed_more += difference
        else:
            self.claimed_less += difference
        if detail and (detail in self.details or len(self.details) < _DETAILS):
            lines, sum_ = self.details.get(detail, (0, NOTHING))
            self.details[detail] = lines + 1, sum_ + difference
        if len(self.examples) < EXAMPLES:
            self.examples.append(where)


@dataclass(slots=True)
class Sum:
    """Lines added up.

    Attributes:
        claimed, true: of lines whose claim and true cost are both known.
        unclaimed: the true cost of lines that claim none.
        unpriced: the claims of lines whose true cost is not known.
    """

    lines: int = 0
    claimed: Cost = NOTHING
    true: Cost = NOTHING
    unclaimed: Cost = NOTHING
    unpriced: Cost = NOTHING

    @property
    def difference(self) -> Cost:
        """What is claimed beyond the truth, where both are known."""
        return self.claimed - self.true

    @property
    def spent(self) -> Cost:
        """The true cost, as far as it is known."""
        return self.true + self.unclaimed


@dataclass(slots=True)
class Without:
    """Lines that could not be compared for one reason.

    Attributes:
        claimed: what they claim.
    """

    lines: int = 0
    claimed: Cost = NOTHING
    names: dict[str, int] = field(default_factory=dict)
    examples: list[tuple[str, int]] = field(default_factory=list)
    fault: bool = True


@dataclass(slots=True)
class Findings:
    """Everything about claims and true costs.

    Attributes:
        all: every line that could be read.
        compared, equal: lines with a claim and a true cost, and those of them that agree.
        estimated: compared lines whose tokens are told in part only.
        undated: lines without a time, priced as of today.
        causes: by the keys of `CAUSES`.
        ambiguous: lines that another cause would explain as well.
        unpriced: by the keys of `UNPRICED`.
        skipped: lines that were not read, by the reason.
    """

    all: Sum = field(default_factory=Sum)
    compared: int = 0
    equal: int = 0
    unclaimed: int = 0
    estimated: int = 0
    undated: int = 0
    ambiguous: int = 0
    causes: dict[str, Found] = field(default_factory=dict)
    unpriced: dict[str, Without] = field(default_factory=dict)
    skipped: dict[str, Without] = field(default_factory=dict)
    models: dict[str, Sum] = field(default_factory=dict)
    days: dict[str, Sum] = field(default_factory=dict)

    def skip(self, log: str, line: Skipped) -> None:
        """Note a line that was not read."""
        found = self.skipped.setdefault(line.why, Without(fault=line.fault))
        found.lines += 1
        if len(found.examples) < EXAMPLES:
            found.examples.append((log, line.number))

    def unknown(self, log: str, line: Line, why: str, claim: Cost | None) -> None:
        """Note a line whose true cost is not known."""
        found = self.unpriced.setdefault(why, Without())
        found.lines += 1
        found.claimed += claim or NOTHING
        if line.model in found.names or len(found.names) < _DETAILS:
            found.names[line.model] = found.names.get(line.model, 0) + 1
        if len(found.examples) < EXAMPLES:
            found.examples.append((log, line.number))

    def sums(self, line: Line) -> tuple[Sum, Sum, Sum]:
        """What this line counts in: everything, its model, its day."""
        model = self.models.get(line.model)
        if model is None:
            name = line.model if len(self.models) < _MODELS else "other models"
            model = self.models.setdefault(name, Sum())
        name = "unknown" if line.at is None else line.at.date().isoformat()
        day = self.days.get(name)
        if day is None:
            day = self.days.setdefault(name, Sum())
        return self.all, model, day

    def differs(self, log: str, line: Line, explanation: Explanation) -> None:
        """Note the causes of a line that claims another cost than the true one."""
        if explanation.others:
            self.ambiguous += 1
        for part in explanation.parts:
            found = self.causes.setdefault(part.cause, Found())
            found.add(part.difference, part.detail, (log, line.number))

    def as_json(self) -> dict[str, Any]:
        """Safe for JSON; amounts are decimal strings in USD."""
        return {
            "lines": self.all.lines,
            "compared": self.compared,
            "equal": self.equal,
            "unclaimed": self.unclaimed,
            "estimated": self.estimated,
            "undated": self.undated,
            "ambiguous": self.ambiguous,
            **_sum(self.all),
            "causes": [_cause(name, self.causes[name]) for name in CAUSES if name in self.causes],
            "unpriced": [
                {"reason": name, "what": UNPRICED[name], **_without(found)}
                for name, found in self.unpriced.items()
            ],
            "skipped": [
                {"reason": name, "fault": found.fault, **_without(found)}
                for name, found in self.skipped.items()
            ],
            "models": [{"model": name, **_sum(sum_)} for name, sum_ in self.models.items()],
            "days": [{"day": name, **_sum(self.days[name])} for name in sorted(self.days)],
        }


def _sum(sum_: Sum) -> dict[str, Any]:
    money = {
        f"{one.name}_usd": str(getattr(sum_, one.name))
        for one in fields(Sum)
        if one.name != "lines"
    }
    return {"lines": sum_.lines, **money, "difference_usd": str(sum_.difference)}


def _cause(name: str, found: Found) -> dict[str, Any]:
    return {
        "cause": name,
        "what": CAUSES[name],
        "lines": found.lines,
        "difference_usd": str(found.difference),
        "claimed_more_usd": str(found.claimed_more),
        "claimed_less_usd": str(found.claimed_less),
        "details": [
            {"detail": detail, "lines": lines, "difference_usd": str(difference)}
            for detail, (lines, difference) in found.details.items()
        ],
        "examples": [{"log": log, "line": line} for log, line in found.examples],
    }


def _without(found: Without) -> dict[str, Any]:
    return {
        "lines": found.lines,
        "claimed_usd": str(found.claimed),
        "models": found.names,
        "examples": [{"log": log, "line": line} for log, line in found.examples],
    }
