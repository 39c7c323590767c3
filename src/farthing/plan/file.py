"""The plan: one reviewable TOML file that says how to answer, what is promised, and why."""

from __future__ import annotations

import hashlib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import tomlkit

from farthing.core.canonical import canonical
from farthing.core.errors import FarthingError, PlanError
from farthing.core.money import Cost
from farthing.core.protocols import Policy
from farthing.plan import _arrays
from farthing.policies.cascade import Cascade, Stage
from farthing.policies.registry import from_params, models_of
from farthing.policies.single import Single
from farthing.signals.answers import reader

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Certificate:
    """P(cost of a request > budget) <= alpha, in the sense of `mode`.

    Attributes:
        mode: "marginal" (over calibration and request) or "pac" (for all but a share `delta` of
            calibrations).
        budget: of one request.
        n_pilot: questions that chose the thresholds.
        n_certify: questions that certified them.
        violations: certification questions that cost more than the budget.
    """

    mode: str
    alpha: float
    delta: float | None
    budget: Cost
    n_pilot: int
    n_certify: int
    violations: int

    @property
    def n_calibration(self) -> int:
        """All questions that the certificate rests on."""
        return self.n_pilot + self.n_certify

    @property
    def statement(self) -> str:
        """The promise in words."""
        sense = (
            "on average over calibrations"
            if self.mode == "marginal"
            else f"for all but {self.delta:.4g} of calibrations"
        )
        return (
            f"A request costs more than {self.budget} USD with probability at most "
            f"{self.alpha:.4g}, {sense}, while requests stay like those of the recording."
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """A policy with its certificate and the evidence for it.

    Attributes:
        name: by which clients call it.
        policy: how a request is answered.
        models: all models it may call, the strongest last.
        answer: name of the reader that finds the final answer in a text.
        certificate: what it promises; None for a plan that promises nothing.
        source: the recording (file name, digest, questions, seed, ...).
        expected: quality, cost_usd_mean, regret, violation_rate on the certification questions.
        baselines: name, quality and cost_usd_mean of what the plan is compared with.
        evidence: the policies that were searched, best first: name, quality and cost_usd_mean
            on questions that they were not learnt from.
        traffic: its costs on the certification questions in bins, `edges_usd` between these and
            `counts`, half of the questions each; live costs are watched against them.
        digest: of the file that it was read from, but for comments and white space; None if of
            none.
    """

    name: str
    policy: Policy
    models: tuple[str, ...]
    answer: str = "text"
    certificate: Certificate | None = None
    source: Mapping[str, Any] = field(default_factory=dict)
    expected: Mapping[str, float | None] = field(default_factory=dict)
    baselines: tuple[Mapping[str, Any], ...] = ()
    evidence: tuple[Mapping[str, Any], ...] = ()
    traffic: Mapping[str, Any] = field(default_factory=dict)
    digest: str | None = field(default=None, compare=False)

    @property
    def budget(self) -> Cost | None:
        """What a request may cost, by the certificate."""
        return self.certificate.budget if self.certificate else None

    @property
    def alpha(self) -> float | None:
        """The share of requests that may cost more, by the certificate."""
        return self.certificate.alpha if self.certificate else None

    @property
    def cascade(self) -> Cascade:
        """The policy as a cascade; PlanError if it is of another kind."""
        if isinstance(self.policy, Cascade):
            return self.policy
        if isinstance(self.policy, Single):
            return Cascade((Stage(self.policy.model),))
        raise PlanError(f"plan {self.name!r}: its policy is no cascade")

    @property
    def thresholds(self) -> list[float | str]:
        """For each model the least signal it is accepted at, "always" or "skip"."""
        return [stage.accept for stage in self.cascade.stages]


def save_plan(plan: Plan, path: str | Path) -> None:
    """Write a plan file, and its arrays beside it; PlanError if one cannot be written."""
    path = Path(path)
    beside = path.with_suffix(".safetensors")
    text, arrays = _written(plan, beside.name)
    try:
        if arrays:
            beside.write_bytes(arrays)
        path.write_text(text)
    except OSError as error:
        raise PlanError(f"{error.filename or path}: cannot be written: {error.strerror}") from error


def dumps(plan: Plan, beside: str = "") -> str:
    """The text of a plan file: the same for the same plan.

    `beside` names the file that holds the policy's arrays, if it has any.
    """
    return _written(plan, beside or f"{plan.name}.safetensors")[0]


def _written(plan: Plan, beside: str) -> tuple[str, bytes]:
    """The text of a plan file, and what the file `beside` holds: nothing without arrays."""
    text = tomlkit.document()
    text.add(tomlkit.comment("A Farthing plan. `farthing explain` says it in words."))
    text["schema"] = SCHEMA
    text["name"] = plan.name
    text["models"] = list(plan.models)
    text["answer"] = plan.answer
    params, arrays = _arrays.cut(plan.policy.get_params())
    held = b""
    if arrays:
        held, digest = _arrays.to_bytes(arrays)
        told = tomlkit.table()
        told["file"] = beside
        told["digest"] = digest
        text["arrays"] = told
    policy = tomlkit.table()
    policy["kind"] = getattr(plan.policy, "kind", "")
    tables = {key for key, value in params.items() if _is_tables(value)}
    for key in sorted(params, key=lambda name: name in tables):
        if key not in tables:
            policy[key] = params[key]
            continue
        rows = tomlkit.aot()
        for row in params[key]:
            rows.append(tomlkit.item(row))
        policy[key] = rows
    text["policy"] = policy
    if plan.certificate is not None:
        certificate = plan.certificate
        table = tomlkit.table()
        table["statement"] = certificate.statement
        table["mode"] = certificate.mode
        table["alpha"] = certificate.alpha
        if certificate.delta is not None:
            table["delta"] = certificate.delta
        table["budget_usd"] = str(certificate.budget)
        table["n_pilot"] = certificate.n_pilot
        table["n_certify"] = certificate.n_certify
        table["violations"] = certificate.violations
        text["certificate"] = table
    tables_told = {"source": plan.source, "expected": plan.expected, "traffic": plan.traffic}
    for name, values in tables_told.items():
        table = tomlkit.table()
        for key, value in values.items():
            if value is not None:
                table[key] = value
        if values:
            text[name] = table
    for name, rows_told in (("baselines", plan.baselines), ("evidence", plan.evidence)):
        rows = tomlkit.aot()
        for row in rows_told:
            rows.append(tomlkit.item({k: v for k, v in row.items() if v is not None}))
        if rows_told:
            text[name] = rows
    return tomlkit.dumps(text), held


def load_plan(path: str | Path) -> Plan:
    """Read a plan file; PlanError that names file and key when it cannot be used."""
    try:
        data = tomllib.loads(Path(path).read_text())
    except FileNotFoundError as error:
        raise PlanError(f"{path}: no such file") from error
    except OSError as error:
        raise PlanError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: not TOML: {error}") from error
    try:
        return _plan(data, Path(path).parent)
    except KeyError as error:
        raise PlanError(f"{path}: key {error.args[0]!r} is missing") from error
    except (TypeError, ValueError, FarthingError) as error:
        raise PlanError(f"{path}: {error}") from error


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _plan(data: dict[str, Any], folder: Path) -> Plan:
    schema = data["schema"]
    if schema != SCHEMA:
        raise PlanError(f"schema {schema!r} is not known to this version, which reads {SCHEMA}")
    known = {"schema", "name", "models", "answer", "policy", "certificate", "source", "expected"}
    unknown = sorted(set(data) - known - {"arrays", "baselines", "evidence", "traffic"})
    if unknown:
        raise PlanError(f"unknown key {unknown[0]!r}")
    policy = dict(data["policy"])
    if "arrays" in data:
        told = data["arrays"]
        policy = _arrays.paste(policy, _arrays.read(folder / told["file"], told["digest"]))
    built = from_params(policy.pop("kind"), policy)
    models = tuple(data["models"])
    called = models_of(built)
    strangers = [model for model in called if model not in models]
    if strangers or not models:
        raise PlanError(f"policy calls {strangers or list(called)}, which 'models' does not list")
    answer = str(data.get("answer", "text"))
    reader(answer)
    certificate = None
    if "certificate" in data:
        table = data["certificate"]
        certificate = Certificate(
            table["mode"],
            float(table["alpha"]),
            None if "delta" not in table else float(table["delta"]),
            Cost.from_usd(table["budget_usd"]),
            int(table["n_pilot"]),
            int(table["n_certify"]),
            int(table["violations"]),
        )
        if certificate.mode not in ("marginal", "pac"):
            raise PlanError(f"certificate.mode is 'marginal' or 'pac', not {certificate.mode!r}")
        if not 0 < certificate.alpha < 1:
            raise PlanError(f"certificate.alpha must lie in (0, 1), not {certificate.alpha}")
    return Plan(
        str(data["name"]),
        built,
        models,
        answer,
        certificate,
        data.get("source", {}),
        data.get("expected", {}),
        tuple(data.get("baselines", ())),
        tuple(data.get("evidence", ())),
        _traffic(data.get("traffic", {})),
        "sha256:" + hashlib.sha256(canonical(data).encode()).hexdigest(),
    )


def _traffic(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """The table `traffic`; PlanError unless it is bins and how many requests are in each."""
    if not table:
        return {}
    edges, counts = table["edges_usd"], table["counts"]
    ascending = all(low < high for low, high in pairwise(edges))
    if not ascending or len(counts) != len(edges) + 1 or any(count < 0 for count in counts):
        raise PlanError("traffic: want edges_usd that ascend, and one more counts than edges")
    return dict(table)


def as_json(plan: Plan) -> dict[str, Any]:
    """What `farthing plan --json` prints; unknown is None."""
    certificate = plan.certificate
    cascade = plan.cascade if isinstance(plan.policy, Cascade | Single) else None
    return {
        "feasible": True,
        "name": plan.name,
        "mode": certificate.mode if certificate else None,
        "alpha": certificate.alpha if certificate else None,
        "delta": certificate.delta if certificate else None,
        "n_calibration": certificate.n_calibration if certificate else None,
        "n_pilot": certificate.n_pilot if certificate else None,
        "n_certify": certificate.n_certify if certificate else None,
        "budget_usd": float(certificate.budget) if certificate else None,
        "models": [stage.model for stage in cascade.stages] if cascade else list(plan.models),
        "thresholds": [_finite(accept) for accept in plan.thresholds] if cascade else None,
        "samples": [stage.samples for stage in cascade.stages] if cascade else None,
        "signal": cascade.signal if cascade else None,
        "sampling": cascade.sampling if cascade else None,
        "policy": None if cascade else _policy(plan.policy),
        "expected": {
            key: plan.expected.get(key)
            for key in ("quality", "cost_usd_mean", "regret", "violation_rate")
        },
        "baselines": [
            {key: row.get(key) for key in ("name", "quality", "cost_usd_mean")}
            for row in plan.baselines
        ],
        "evidence": [dict(row) for row in plan.evidence],
        "source": dict(plan.source),
    }


def _finite(value: float | str) -> float | str | None:
    return value if isinstance(value, str) or math.isfinite(value) else None


def _policy(policy: Policy) -> Any:
    params, arrays = _arrays.cut(policy.get_params())
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    told = _plain({"kind": getattr(policy, "kind", ""), **params})
    return {**told, "arrays": shapes} if shapes else told


def _plain(value: Any) -> Any:
    """`value` without numbers that JSON does not know."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return _finite(value) if isinstance(value, float) else value
