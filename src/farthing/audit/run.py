"""An audit: every line of some logs priced anew, and what could be saved."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from farthing.audit.causes import Explainer, Explanation, agree
from farthing.audit.findings import Findings
from farthing.audit.levers.lever import Lever
from farthing.audit.levers.together import Levers
from farthing.audit.line import Line, Skipped
from farthing.audit.pricing import Pricing, cost_of
from farthing.audit.source import Source
from farthing.core.files import whole
from farthing.core.money import PICO_PER_USD, Cost

if TYPE_CHECKING:
    from farthing.audit.levers.routed import Routed

Progress = Callable[[Source, int], object]


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit says.

    Attributes:
        sources: the logs.
        levers: what each measure could save, taken alone.
        together: all of them in turn; None if there are none.
    """

    sources: tuple[Source, ...]
    findings: Findings
    levers: tuple[Lever, ...]
    together: Lever | None

    @property
    def spent(self) -> Cost:
        """The true cost of all lines, as far as it is known."""
        return self.findings.all.spent

    def as_json(self) -> dict[str, Any]:
        """Safe for JSON; amounts are decimal strings in USD."""
        spent = self.spent
        return {
            "logs": [
                {
                    "log": source.name,
                    "format": source.format,
                    "detected": source.detected,
                    "rounded_to_decimals": source.decimals,
                }
                for source in self.sources
            ],
            **self.findings.as_json(),
            "spent_usd": str(spent),
            "levers": [lever.as_json(spent) for lever in self.levers],
            "together": None if self.together is None else self.together.as_json(spent),
        }


class Deviations(Protocol):
    """Takes the lines that differ, one by one."""

    def __call__(
        self, log: str, line: Line, claim: Cost, truth: Cost, explanation: Explanation
    ) -> None: ...


def audit(
    sources: Sequence[Source],
    pricing: Pricing,
    *,
    routed: Routed | None = None,
    deviation: Deviations | None = None,
    progress: Progress = lambda source, done: None,
) -> Audit:
    """Price every line anew, say why claims differ, and bound what could be saved.

    The memory that it takes does not grow with the logs.

    Args:
        routed: what routing saved on a recording.
        deviation: called with each line that differs.
        progress: called with a log and how much of its `size` has been read.

    Raises DataError or LedgerError if a log cannot be read to its end.
    """
    findings, levers, explainer = Findings(), Levers(pricing), Explainer(pricing)
    for model in (model for source in sources for model in source.models):
        explainer.saw(model)
    for source in sources:
        step = _Step(source, findings, levers, explainer, pricing, deviation)
        for line in source.lines(lambda done, source=source: progress(source, done)):  # type: ignore[misc]
            step.take(line)
        progress(source, source.size)
    found = levers.alone()
    if routed is not None:
        found = [lever for lever in found if lever.name != "routing"]
        found.append(routed.lever(findings))
    return Audit(tuple(sources), findings, tuple(found), levers.together(found))


class _Step:
    """Takes the lines of one log."""

    def __init__(
        self,
        source: Source,
        findings: Findings,
        levers: Levers,
        explainer: Explainer,
        pricing: Pricing,
        deviation: Deviations | None,
    ) -> None:
        self._name, self._findings, self._levers = source.name, findings, levers
        self._explainer, self._pricing, self._deviation = explainer, pricing, deviation
        self._unit = 0 if source.decimals is None else PICO_PER_USD // 10**source.decimals

    def take(self, line: Line | Skipped) -> None:
        findings = self._findings
        if isinstance(line, Skipped):
            findings.skip(self._name, line)
            return
        claim = None if line.claimed is None else _pico(line.claimed)
        price = self._pricing.price(line)
        truth = None if price is None and line.status != "cached" else self._truth(line, price)
        sums = findings.sums(line)
        for sum_ in sums:
            sum_.lines += 1
        findings.undated += line.at is None
        if truth is None:
            why = self._why(line)
            findings.unknown(self._name, line, why, claim)
            for sum_ in sums:
                sum_.unpriced += claim or Cost(0)
            return
        if claim is None:
            findings.unclaimed += 1
            for sum_ in sums:
                sum_.unclaimed += truth
        else:
            findings.compared += 1
            findings.estimated += line.basis == "estimated"
            for sum_ in sums:
                sum_.claimed += claim
                sum_.true += truth
            self._compare(line, claim, truth)
        if price is not None:
            self._levers.add(line, price, truth)

    def _compare(self, line: Line, claim: Cost, truth: Cost) -> None:
        self._explainer.saw(line.model)
        if agree(claim, truth):
            self._findings.equal += 1
            return
        price = self._pricing.price(line)
        explanation = self._explainer.explain(line, claim, truth, price, self._unit)
        self._findings.differs(self._name, line, explanation)
        if self._deviation is not None:
            self._deviation(self._name, line, claim, truth, explanation)

    def _truth(self, line: Line, price: Any) -> Cost | None:
        return Cost(0) if price is None else cost_of(line, price)

    def _why(self, line: Line) -> str:
        if self._pricing.price(line) is not None:
            return "unknown_usage" if line.usage is None else "unknown_cost"
        card = self._pricing.card(line)
        if line.service_tier and self._pricing.book.price(card, line.at) is not None:
            return "unknown_tier"
        return "unknown_model"


def _pico(usd: Decimal) -> Cost:
    """The nearest picodollar: logs keep binary fractions, written with 17 digits."""
    return Cost(round(usd.scaleb(12)))


@contextmanager
def deviations(path: Path) -> Iterator[Deviations]:
    """Writes the lines that differ to a CSV, which is there only when all of them are.

    Raises DataError if it cannot be written.
    """
    with whole(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(
            ("log", "line", "model", "claimed_usd", "true_usd", "difference_usd", "causes")
        )

        def write(log: str, line: Line, claim: Cost, truth: Cost, explanation: Explanation) -> None:
            causes = " and ".join(part.cause for part in explanation.parts)
            row = (log, line.number, line.model, claim, truth, claim - truth, causes)
            table.writerow(map(str, row))

        yield write
