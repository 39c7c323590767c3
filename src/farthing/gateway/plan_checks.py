"""Whether the models that are configured can do what a plan asks of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from farthing.core.errors import PlanError, RequestError
from farthing.core.protocols import Model, Policy
from farthing.core.request import Request
from farthing.models.draw import LOGPROBS
from farthing.models.http import HttpModel
from farthing.models.recorded import RecordedModel
from farthing.models.replicas import Upstreams
from farthing.policies.cascade import VOTING, Cascade
from farthing.policies.cascade_routing import CascadeRouting
from farthing.policies.hops import Hops
from farthing.policies.scored import ScoredCascade
from farthing.policies.ttc.sharpened import Sharpened
from farthing.policies.ttc.vote import SelfConsistency
from farthing.signals.column import Column
from farthing.signals.judge import Judge
from farthing.signals.registry import signals_in
from farthing.signals.signal import Signal
from farthing.signals.verification import Verification


def check_policy(where: str, policy: Policy, models: Mapping[str, Model]) -> None:
    """PlanError for what the models at hand cannot do for this policy."""
    if isinstance(policy, Cascade):
        _check_cascade(where, policy, models)
    for name, signal in _signals(policy):
        if name in models:
            _check_signal(where, signal, name, models)
    if isinstance(policy, SelfConsistency) and policy.model in models:
        if policy.sampling == "n" and not models[policy.model].card.n:
            raise PlanError(
                f"{where}the plan takes several samples of {policy.model!r} in one call, which it "
                "cannot give; plan with `sampling` in calls"
            )
        _check_asking(
            where,
            models[policy.model],
            policy.model,
            logprobs=policy.weighted,
            temperature=policy.temperature,
        )
    if isinstance(policy, Sharpened) and policy.model in models:
        _check_tokens(where, models[policy.model], policy)
    if isinstance(policy, Hops) and policy.column:
        for name in policy.models:
            if name in models:
                _check_asking(where, models[name], name, logprobs=True)


def _signals(policy: Policy) -> Iterator[tuple[str, Signal]]:
    """The signals of a learnt policy, each with the model whose answers it is of."""
    if isinstance(policy, ScoredCascade):
        for step in policy.steps:
            if step.signal is not None:
                yield policy.to_call(step, Request.ask("?"))[0], step.signal
    elif isinstance(policy, CascadeRouting):
        yield from zip(policy.models, policy.signals, strict=False)


def _check_signal(where: str, signal: Signal, name: str, models: Mapping[str, Model]) -> None:
    """PlanError for a signal that the model `name` cannot show, or nobody sell."""
    model = models[name]
    recorded = isinstance(model, RecordedModel)
    for part in signals_in(signal):
        if isinstance(part, Column):
            told = f"{where}its signal {part.name!r} is a column of a recording, which {name!r} "
            if part.paid:
                raise PlanError(
                    f"{told}was asked for in a call of its own; live there is nobody to ask. Use "
                    'a signal of kind "verification", which asks the model about its own answer'
                )
            if not recorded and part.name not in (*LOGPROBS, "output_tokens"):
                raise PlanError(f"{told}does not show; plan with agreement or a log-probability")
        elif isinstance(part, Verification | Judge) and recorded:
            raise PlanError(
                f"{where}{name!r} is a recording, which cannot be asked about its own answers, as "
                f"its signal of kind {part.kind!r} does"
            )
        if isinstance(part, Judge) and part.model not in models:
            raise PlanError(
                f"{where}the judge {part.model!r} is not configured; add a table "
                f"[models.{part.model}]"
            )
    if signal.logprobs:
        _check_asking(where, model, name, logprobs=True)


def _check_tokens(where: str, model: Model, policy: Sharpened) -> None:
    """PlanError for a model that does not show the log-probability of each token."""
    upstream = model.models[0] if isinstance(model, Upstreams) else model
    if isinstance(upstream, HttpModel) or "logprobs" not in upstream.card.shows:
        raise PlanError(
            f"{where}{policy.kind} needs the log-probability of each token, and {policy.model!r} "
            "does not show it; models in this process do"
        )


def _check_asking(
    where: str,
    model: Model,
    name: str,
    *,
    logprobs: bool = False,
    temperature: float | None = None,
) -> None:
    """PlanError for an upstream that cannot be asked so."""
    upstream = model.models[0] if isinstance(model, Upstreams) else model
    if isinstance(upstream, HttpModel):
        try:
            upstream.check(Request.ask("?", temperature=temperature, logprobs=logprobs))
        except RequestError as error:
            raise PlanError(f"{where}{name!r} cannot be asked as the plan does: {error}") from error


def _check_cascade(where: str, cascade: Cascade, models: Mapping[str, Model]) -> None:
    """PlanError for what the models at hand cannot do for this cascade."""
    for stage in cascade.stages:
        model = models.get(stage.model)
        if model is None or stage.accept == "skip":
            continue
        if cascade.sampling == "n" and stage.samples > 1 and not model.card.n:
            raise PlanError(
                f"{where}the plan takes {stage.samples} samples of {stage.model!r} in one call, "
                "which it cannot give; plan with `sampling` in calls"
            )
        logprobs = cascade.signal in LOGPROBS
        _check_asking(where, model, stage.model, logprobs=logprobs, temperature=cascade.temperature)
        if stage.accept == "always" or cascade.signal in (*VOTING, *LOGPROBS):
            continue
        if cascade.signal_attempt or not isinstance(model, RecordedModel):
            raise PlanError(
                f"{where}its signal {cascade.signal!r} is a column of a recording, which "
                f"{stage.model!r} does not show; plan with agreement or a log-probability"
            )
