"""From a configuration to what is served."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from farthing.core.errors import ConfigError, DataError, LedgerError, MoneyError, PlanError
from farthing.core.money import Rates
from farthing.core.protocols import Model
from farthing.gateway.config import (
    NAME,
    Config,
    HttpConfig,
    PriceConfig,
    RecordedConfig,
    TinyConfig,
)
from farthing.gateway.service import ServedPlan, Service
from farthing.ledger import Ledger
from farthing.models.http import HttpModel
from farthing.policies.cascade import VOTING, Cascade
from farthing.signals import reader


def open_service(config: Config) -> Service:
    """The service that `config` describes, with its ledger open.

    Raises ConfigError or PlanError for what cannot be opened; nothing is left open then.
    """
    models = build_models(config)
    plans = build_plans(config, models)
    token = None
    if config.gateway.token_env:
        token = os.environ.get(config.gateway.token_env, "").strip()
        if not token:
            raise config.error(
                f"environment variable {config.gateway.token_env} is not set",
                "gateway",
                "token_env",
            )
    try:
        reader(config.gateway.answer)
    except ConfigError as error:
        raise config.error(_bare(error), "gateway", "answer") from error
    try:
        ledger = Ledger.open(config.file(config.ledger.path), texts=config.gateway.store_prompts)
    except LedgerError as error:
        raise config.error(str(error), "ledger", "path") from error
    return Service(config.gateway, models, plans, ledger, token=token)


def build_models(config: Config) -> dict[str, Model]:
    """The models of `config` by name; ConfigError for one that cannot be made."""
    return {name: _model(config, name) for name in config.models}


def build_plans(config: Config, models: Mapping[str, Model]) -> dict[str, ServedPlan]:
    """The plans of `config` by name.

    Raises ConfigError for a name that is taken, PlanError for a file that cannot be read or
    asks for a model that is not configured.
    """
    if not config.plan_files:
        return {}
    from farthing.plan import load_plan

    plans: dict[str, ServedPlan] = {}
    for path in config.plan_files:
        plan = load_plan(path)
        if plan.name in models or plan.name in plans:
            other = "model" if plan.name in models else "plan"
            raise config.error(
                f"plan {plan.name!r} of {path} has the name of another {other}", "plans", "files"
            )
        if not NAME.fullmatch(plan.name):
            raise PlanError(f"{path}: name {plan.name!r} is none that clients can send")
        missing = [model for model in plan.models if model not in models]
        if missing:
            raise PlanError(
                f"{path}: the plan asks for {', '.join(missing)}, and {config.path} configures "
                f"{', '.join(models)}; add a table [models.{missing[0]}]"
            )
        if isinstance(plan.policy, Cascade):
            _check_cascade(f"{path}: ", plan.policy, models)
        plans[plan.name] = ServedPlan(
            plan.name, tuple(plan.models), plan.policy, plan.answer, plan.budget, plan.alpha
        )
    return plans


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
        if stage.accept == "always" or cascade.signal in (*VOTING, "mean_logprob", "min_logprob"):
            continue
        from farthing.models.recorded import RecordedModel

        if cascade.signal_attempt or not isinstance(model, RecordedModel):
            raise PlanError(
                f"{where}its signal {cascade.signal!r} is a column of a recording, which "
                f"{stage.model!r} does not show; plan with agreement or a log-probability"
            )


def _model(config: Config, name: str) -> Model:
    key = ("models", name)
    match config.models[name]:
        case TinyConfig() as tiny:
            from farthing.models.tiny import load as load_tiny

            model = load_tiny(tiny.size)
            model.card = replace(model.card, name=name)
            return model
        case RecordedConfig() as recorded:
            return _recorded(config, name, recorded)
        case HttpConfig() as http:
            return _http(config, name, http)
    raise config.error("this kind of model cannot be made", *key, "kind")


def _recorded(config: Config, name: str, settings: RecordedConfig) -> Model:
    from farthing.models.draw import draw
    from farthing.models.recorded import RecordedModel
    from farthing.models.recording import load_recording

    try:
        recording = load_recording(config.file(settings.path))
        samples = settings.samples or int(recording.counts(settings.model).max())
        drawn = draw(recording, [settings.model], samples, settings.seed)
    except DataError as error:
        raise config.error(str(error), "models", name, "path") from error
    return RecordedModel(drawn, settings.model, name)


def _http(config: Config, name: str, settings: HttpConfig) -> Model:
    try:
        return HttpModel(
            name,
            base_url=settings.base_url,
            model=settings.model,
            key_env=settings.key_env,
            headers=settings.headers,
            timeout_s=settings.timeout_s,
            connect_timeout_s=settings.connect_timeout_s,
            n=settings.n,
            rates=_rates(settings.price),
            stream_usage=settings.stream_usage,
            env_proxy=settings.env_proxy,
        )
    except MoneyError as error:
        raise config.error(str(error), "models", name, "price") from error
    except ConfigError as error:
        raise config.error(_bare(error), "models", name, error.key) from error


def _bare(error: ConfigError) -> str:
    """The message without the key that it begins with."""
    return str(error).removeprefix(f"{error.key}: ")


def _rates(price: PriceConfig | None) -> Rates | None:
    if price is None:
        return None
    return Rates.per_million(
        price.input, price.output, price.cache_read, price.cache_write, price.reasoning
    )
