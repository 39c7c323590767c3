"""Plans and replays in words and tables, for a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from farthing.core.money import Cost
from farthing.core.protocols import Policy
from farthing.plan.file import Certificate, Plan
from farthing.policies.cascade import VOTING, Cascade, Stage
from farthing.policies.cheapest import Cheapest
from farthing.policies.decisions import Learnt
from farthing.policies.fallback import Fallback
from farthing.policies.nested import to_table
from farthing.policies.registry import models_of
from farthing.policies.scored import ScoredCascade
from farthing.policies.single import Single
from farthing.policies.ttc.chain import Chain
from farthing.policies.ttc.registry import TTC

Interval = tuple[float, float]
BILLED = {
    "calls": "a call for each sample",
    "n": "one call for all samples of a model, prompt billed once",
}
LEFT_OUT = (
    "lack one of the models and were left out. Where that depends on the answers, as in the "
    "traffic of another plan, what is left is not like the requests to come, and the promise fails."
)


def _questions(certificate: Certificate) -> str:
    """Which questions certified the plan, up to their violations."""
    if certificate.n_pilot == 0:
        return (
            f"{certificate.n_certify} calibration questions certified thresholds that none of them "
            f"had to choose; of these {certificate.violations}"
        )
    return (
        f"{certificate.n_calibration} calibration questions: {certificate.n_pilot} chose "
        f"the thresholds, {certificate.n_certify} others certified them, of which "
        f"{certificate.violations}"
    )


def explain(plan: Plan) -> RenderableType:
    """The plan's tree, certificate, expectation and baselines."""
    parts: list[RenderableType] = [_tree(plan), Text()]
    certificate = plan.certificate
    if certificate is None:
        parts.append(Text("No certificate: this plan promises nothing about cost."))
    else:
        parts += [
            Text.assemble(
                ("Certificate ", "bold"), f"({certificate.mode}): ", certificate.statement
            ),
            Text(f"  {_questions(certificate)} cost more than the budget (counted)."),
        ]
    if plan.source:
        parts.append(
            Text(f"  from {plan.source.get('recording')}, {str(plan.source.get('digest'))[:19]}...")
        )
    left_out = plan.source.get("left_out")
    if left_out:
        parts.append(Text(f"  {left_out} questions {LEFT_OUT}", style="yellow"))
    if plan.expected:
        parts += [Text(), _expected(plan)]
    return Group(*parts)


def _tree(plan: Plan) -> Tree:
    policy = plan.cascade if isinstance(plan.policy, Single) else plan.policy
    tree = Tree(Text.assemble("plan ", (plan.name, "bold"), f": {_how(policy)}"))
    _grow(tree, policy)
    return tree


def _grow(tree: Tree, policy: Policy) -> None:
    """Add what `policy` does to `tree`, which says what it is."""
    if isinstance(policy, Fallback):
        for number, choice in enumerate(policy.models):
            when = "if that fails" if number else "first"
            name = choice if isinstance(choice, str) else _how(choice)
            branch = tree.add(Text(f"{when}, {name}"))
            if not isinstance(choice, str):
                _grow(branch, choice)
    elif isinstance(policy, Cheapest):
        for model in policy.models:
            tree.add(Text(model))
    elif isinstance(policy, Cascade):
        _grow_cascade(tree, policy)
    elif isinstance(policy, ScoredCascade):
        _grow_scored(tree, policy)
    elif isinstance(policy, Chain):
        for number, link in enumerate(policy.links):
            last = number == len(policy.links) - 1
            what = "answer accepted" if last else f"accepted if signal >= {link.accept:.4g}, else"
            asked = link.ask if isinstance(link.ask, str) else _how(link.ask)
            branch = tree.add(Text(f"{asked}: {what}"))
            if not isinstance(link.ask, str):
                _grow(branch, link.ask)
    elif _kind(policy) in TTC:
        for name, value in to_table(policy).items():
            if name != "kind" and value not in ({}, []):
                tree.add(Text(f"{name} = {value}"))
    elif isinstance(policy, Learnt):
        for model in policy.asks:
            tree.add(Text(model))


def _kind(policy: Policy) -> str:
    return getattr(policy, "kind", "")


def _grow_scored(tree: Tree, cascade: ScoredCascade) -> None:
    for step in cascade.steps:
        votes = "1 sample" if step.samples == 1 else f"the commonest of {step.samples} samples"
        if step.signal is None:
            tree.add(Text(f"{step.model}: {votes}, answer accepted"))
            return
        score = f"{step.signal.kind} >= {step.accept:.4g}"
        tree = tree.add(Text(f"{step.model}: {votes}, accepted if {score}, else"))


def _grow_cascade(tree: Tree, cascade: Cascade) -> None:
    node, reached = tree, True
    for stage in cascade.stages:
        skipped = stage.accept == "skip"
        what = _stage(stage, cascade.signal) if reached or skipped else "never reached"
        label = f"{stage.model}: {what}"
        style = "dim" if skipped or not reached else ""
        child = node.add(Text(label, style=style))
        if not skipped and reached:
            node = child
            reached = stage.accept != "always"


def _how(policy: Policy) -> str:
    match policy:
        case Cascade():
            return f"cascade by {policy.signal}, {BILLED[policy.sampling]}"
        case Single():
            return f"the answer of {policy.model}"
        case Fallback():
            late = ", or takes too long" if policy.on_timeout else ""
            return f"the next model where one fails{late}"
        case Cheapest():
            return f"the cheapest model, expecting {policy.output_tokens} tokens of output"
        case Learnt():
            return f"{policy.kind}, learnt from recorded answers"
    if _kind(policy) in TTC:
        return f"{_kind(policy)} of {', '.join(models_of(policy))}"
    raise TypeError(f"{type(policy).__name__} cannot be explained")


def _stage(stage: Stage, signal: str) -> str:
    votes = "1 sample" if stage.samples == 1 else f"vote of {stage.samples} samples"
    if stage.accept == "always":
        return f"{votes}, answer accepted"
    if stage.accept == "skip":
        return "skipped"
    if signal in VOTING and stage.accept > 1:
        return f"{votes}, which only join the pool; then"
    return f"{votes}, accepted if {signal} >= {stage.accept:.4g}, else"


def _expected(plan: Plan) -> Table:
    n = plan.certificate.n_certify if plan.certificate else None
    table = Table(
        title=f"Estimated on the {n} certification questions", title_justify="left", box=None
    )
    for column in ("", "quality", "mean cost, USD"):
        table.add_column(column, justify="right" if column else "left", no_wrap=bool(column))
    table.add_row(
        f"plan {plan.name}",
        _share(plan.expected.get("quality")),
        _usd(plan.expected["cost_usd_mean"]),
    )
    for row in plan.baselines:
        table.add_row(_name(row["name"]), _share(row.get("quality")), _usd(row["cost_usd_mean"]))
    for row in plan.evidence:
        name = f"searched: {row['name']}"
        table.add_row(name, _share(row.get("quality")), _usd(row["cost_usd_mean"]), style="dim")
    regret, rate = plan.expected.get("regret"), plan.expected.get("violation_rate")
    table.caption = f"regret {_share(regret)}, violation rate {_share(rate)}"
    table.caption_justify = "left"
    return table


def summarise(summary: dict[str, Any]) -> RenderableType:
    """A replay's figures (`plan.replay.as_json`) as a table, with a verdict on the saving."""
    table = Table(
        title=f"plan {summary['plan']} on {summary['questions']} questions "
        "(measured on recorded answers; 95 % intervals)",
        title_justify="left",
        box=None,
    )
    table.add_column("", overflow="fold")
    for column in ("quality", "", "mean cost, USD", ""):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    named = [(f"plan {summary['plan']}", summary)]
    named += [(_name(row["name"]), row) for row in summary["baselines"]]
    for name, row in named:
        table.add_row(
            name,
            _share(row["quality"]),
            _span(row.get("quality_interval"), _share),
            _usd(row["cost_usd_mean"]),
            _span(row.get("cost_usd_mean_interval"), _usd),
        )
    lines: list[RenderableType] = [table, Text()]
    if summary["violation_rate"] is not None:
        budget = Cost.from_float(summary["budget_usd"])
        rate, span = summary["violation_rate"], summary["violation_rate_interval"]
        lines.append(
            Text(
                f"Over the budget of {budget} USD: {summary['violations']} of "
                f"{summary['questions']} = {_share(rate)} {_span(span, _share)}; the certificate "
                f"({summary['mode']}) allows {_share(summary['alpha'])}."
            )
        )
    lines.append(
        Text(
            f"Regret (answers unlike the strongest model's): "
            f"{_share(summary['regret'])} {_span(summary['regret_interval'], _share)}."
        )
    )
    shares = ", ".join(f"{model} {_share(share)}" for model, share in summary["shares"].items())
    calls = f"{summary['attempts']} attempts (counted), {BILLED[summary['sampling'] or 'calls']}"
    lines.append(Text(f"Answered by: {shares}. {calls}."))
    lines.append(Text(_saving(summary["saving_against_strongest"])))
    if summary["same_recording"]:
        lines.append(
            Text(
                "This is the recording that the plan was made on: its figures flatter the plan.",
                style="yellow",
            )
        )
    if summary["left_out"]:
        lines.append(Text(f"{summary['left_out']} questions {LEFT_OUT}", style="yellow"))
    return Group(*lines)


def _saving(saving: dict[str, Any]) -> str:
    if not saving["significant"]:
        verdict = "Saving against the strongest model alone: not significant"
    else:
        verdict = f"Saving against the strongest model alone: {_share(saving['share'])}"
    text = f"{verdict} {_span(saving['interval'], _share)}"
    if saving["quality_difference"] is not None:
        difference = f"{saving['quality_difference']:+.1%}"
        low, high = saving["quality_difference_interval"]
        text += f", quality {difference} [{low:+.1%}, {high:+.1%}]"
    return text + "."


def _name(name: str) -> str:
    return {"random": "random mix at equal cost", "oracle": "oracle"}.get(name, f"always {name}")


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1%}"


def _usd(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


def _span(interval: Interval | None, form: Any) -> str:
    return "" if interval is None else f"[{form(interval[0])}, {form(interval[1])}]"
