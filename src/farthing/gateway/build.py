"""From a configuration to what is served."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
from yarl import URL

from farthing.budgets.book import BudgetBook
from farthing.core.errors import (
    ConfigError,
    DataError,
    LedgerError,
    MoneyError,
    ParamError,
    PlanError,
)
from farthing.core.money import Cost, Rates
from farthing.core.protocols import Model, ModelCard
from farthing.cost.calls import PRICED as PRICED_CALLS
from farthing.cost.prices import FREE, Price, PriceBook
from farthing.cost.usage import standard_tier
from farthing.gateway.alerts import Alerts
from farthing.gateway.bypass import SwitchReader
from farthing.gateway.certificates import Certificates
from farthing.gateway.config import NAME, Config
from farthing.gateway.ledger_address import ledger_address
from farthing.gateway.ledger_options import ledger_options
from farthing.gateway.model_sections import (
    TOKEN_PRICES,
    HttpConfig,
    LlamaConfig,
    PriceConfig,
    PriceEntry,
    RecordedConfig,
    ReplicaConfig,
    TinyConfig,
)
from farthing.gateway.named_plans import NamedPlans
from farthing.gateway.plan_checks import check_policy
from farthing.gateway.service import Models, ServedPlan, Service
from farthing.gateway.shortcuts import form_of, shortcut
from farthing.ledger import Ledger
from farthing.ledger.keyring import KeyRing
from farthing.models.breaker import BreakerRule
from farthing.models.http import HttpModel
from farthing.models.replicas import Upstreams
from farthing.policies.registry import from_params, models_of, policies_in
from farthing.policies.stickiness import stick
from farthing.signals import reader

if TYPE_CHECKING:
    from farthing.ledger.watches import Watched
    from farthing.plan import Plan


def open_service(config: Config) -> Service:
    """The service that `config` describes, with its ledger open.

    Raises ConfigError or PlanError for what cannot be opened; nothing is left open then.
    """
    service = build_service(config)
    where, key = ledger_address(config)
    options = ledger_options(config)
    try:
        service.ledger = Ledger.open(where, **options)
    except LedgerError as error:
        raise config.error(str(error), "ledger", key) from error
    if config.gateway.keys:
        service.keys = open_keys(config)
    service.budgets = BudgetBook(where, service.ledger)
    service.switch = SwitchReader(where)
    service.certificates = Certificates(where)
    return service


def open_keys(config: Config) -> KeyRing:
    """The keys in the ledger of `config`."""
    where, _ = ledger_address(config)
    return KeyRing(where, believe_last=config.ledger.on_ledger_failure == "spool")


def build_service(config: Config) -> Service:
    """The service that `config` describes, without its ledger and what is kept in it.

    Raises ConfigError or PlanError for what cannot be made.
    """
    models = Models(build_models(config))
    plans = NamedPlans(
        build_plans(config, models), lambda name: shortcut(name, models, config.gateway.answer)
    )
    prices = build_prices(config)
    token, webhook = _secret(config, "token_env"), _secret(config, "budget_webhook_env")
    if webhook is not None and not webhook.startswith(("http://", "https://")):
        name = config.gateway.budget_webhook_env
        message = f"environment variable {name} holds no address that begins with https://"
        raise config.error(message, "gateway", "budget_webhook_env")
    try:
        reader(config.gateway.answer)
    except ConfigError as error:
        raise config.error(_bare(error), "gateway", "answer") from error
    return Service(
        config.gateway, models, plans, prices=prices, token=token, alerts=Alerts(webhook)
    )


def _secret(config: Config, key: str) -> str | None:
    """What the environment variable holds that a key of [gateway] names; None without the key."""
    name = getattr(config.gateway, key)
    if name is None:
        return None
    value = os.environ.get(name, "").strip()
    if not value:
        raise config.error(f"environment variable {name} is not set", "gateway", key)
    return value


def build_models(config: Config) -> dict[str, Model]:
    """The models of `config` by name; ConfigError for one that cannot be made."""
    return {name: _model(config, name) for name in config.models}


def build_prices(config: Config) -> PriceBook:
    """The price book with what `config` overrides; ConfigError for prices that are none."""
    overrides = {}
    for name, settings in config.models.items():
        if isinstance(settings, HttpConfig | LlamaConfig) and (
            prices := _prices(config, name, settings)
        ):
            overrides[name] = prices
    return PriceBook(overrides)


def price_card(config: Config, name: str) -> ModelCard:
    """What the price book needs to know of the model `name`, without connecting or loading it."""
    settings = config.models[name]
    if not isinstance(settings, HttpConfig | LlamaConfig):
        return _model(config, name).card
    try:
        rates = _card_rates(settings.price)
    except MoneyError as error:
        raise config.error(str(error), "models", name, "price") from error
    upstream = settings.upstreams[0].model or name if isinstance(settings, HttpConfig) else None
    return ModelCard(
        name,
        rates=rates,
        price_source="config" if rates else None,
        upstream_name=upstream,
    )


def build_plans(config: Config, models: Mapping[str, Model]) -> dict[str, ServedPlan]:
    """The plans of `config` by name.

    Raises ConfigError for a name that is taken and for a table that is wrong, PlanError for a
    file that cannot be read or asks for a model that is not configured.
    """
    plans = {name: _table_plan(config, models, name) for name in config.plans}
    if not config.plan_files:
        return plans
    from farthing.plan import load_plan

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
        for policy in policies_in(plan.policy):
            check_policy(f"{path}: ", policy, models)
        policy = plan.policy if config.sticky == "off" else stick(plan.policy)
        plans[plan.name] = ServedPlan(
            plan.name,
            tuple(plan.models),
            policy,
            plan.answer,
            plan.budget,
            plan.alpha,
            watched=_watched(config, plan),
            on_alarm=config.on_alarm,
        )
    return plans


def _watched(config: Config, plan: Plan) -> Watched | None:
    """What is to be watched of a plan; None if it promises nothing."""
    certificate = plan.certificate
    if certificate is None or plan.digest is None:
        return None
    from farthing.ledger.watches import Watched

    return Watched(
        plan.name,
        plan.digest,
        tuple(plan.models),
        certificate.budget,
        certificate.alpha,
        certificate.mode,
        certificate.n_certify,
        config.alarm_level,
        tuple(plan.traffic.get("edges_usd", ())),
        tuple(plan.traffic.get("counts", ())),
    )


def _table_plan(config: Config, models: Mapping[str, Model], name: str) -> ServedPlan:
    """The plan of the table [plans.NAME]."""
    table, key = config.plans[name], ("plans", name)
    if name in models:
        raise config.error("this is the name of a model; give the plan another", *key)
    try:
        policy = from_params(table.kind, table.params)
    except ParamError as error:
        raise config.error(str(error), *key, *error.place) from error
    except PlanError as error:
        raise config.error(str(error), *key, "kind") from error
    called = models_of(policy)
    for model in called:
        if model not in models:
            what = f"add a table [models.{model}]"
            if form_of(model):
                what = "such names are for clients; within a plan write a table with its kind"
            raise config.error(f"model {model!r} is not configured; {what}", *key)
    try:
        reader(table.answer)
        for part in policies_in(policy):
            check_policy("", part, models)
    except ConfigError as error:
        raise config.error(_bare(error), *key, "answer") from error
    except PlanError as error:
        raise config.error(str(error), *key) from error
    sticky = (table.sticky or config.sticky) != "off"
    return ServedPlan(name, called, stick(policy) if sticky else policy, table.answer)


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
        case LlamaConfig() as llama:
            return _llama(config, name, llama)
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


def _llama(config: Config, name: str, settings: LlamaConfig) -> Model:
    from farthing.models.llama import LlamaModel

    try:
        return LlamaModel(
            name,
            config.file(settings.path),
            context=settings.context,
            slots=settings.slots,
            threads=settings.threads,
            draft=None if settings.draft is None else config.file(settings.draft),
            system=settings.system,
            rates=_card_rates(settings.price),
        )
    except MoneyError as error:
        raise config.error(str(error), "models", name, "price") from error
    except ConfigError as error:
        raise config.error(_bare(error), "models", name, error.key) from error


def _http(config: Config, name: str, settings: HttpConfig) -> Model:
    """The model with all its upstreams."""
    models: dict[str, Model] = {}
    for number, upstream in enumerate(settings.upstreams):
        model = _upstream(config, name, settings, number, upstream)
        label = upstream.label or URL(upstream.base_url or "").authority
        if label in models:
            label = f"{label}#{number + 1}"
        models[label] = model
    return Upstreams(
        models,
        retries=settings.retries,
        retry_after_max_s=settings.retry_after_max_s,
        total_timeout_s=settings.total_timeout_s,
        breaker=BreakerRule(**msgspec.structs.asdict(settings.breaker)),
        affinity=settings.affinity,
    )


def _upstream(
    config: Config, name: str, settings: HttpConfig, number: int, upstream: ReplicaConfig
) -> HttpModel:
    try:
        return HttpModel(
            name,
            base_url=upstream.base_url or "",
            api=settings.api,
            max_tokens=settings.max_tokens,
            model=upstream.model,
            key_env=upstream.key_env,
            headers=upstream.headers,
            timeout_s=settings.timeout_s,
            connect_timeout_s=settings.connect_timeout_s,
            n=settings.n,
            rates=_card_rates(settings.price),
            stream_usage=settings.stream_usage,
            env_proxy=settings.env_proxy,
            on_disconnect=settings.on_disconnect,
            drain_timeout_s=settings.drain_timeout_s,
        )
    except MoneyError as error:
        raise config.error(str(error), "models", name, "price") from error
    except ConfigError as error:
        own = settings.replicas and getattr(settings.replicas[number], error.key, None) is not None
        place = ("replicas", f"[{number}]", error.key) if own else (error.key,)
        raise config.error(_bare(error), "models", name, *place) from error


def _bare(error: ConfigError) -> str:
    """The message without the key that it begins with."""
    return str(error).removeprefix(f"{error.key}: ")


def _card_rates(price: PriceConfig | None) -> Rates | None:
    """A price that a model's card can state; others are the price book's."""
    return _rates(price) if price is not None and _fits_card(price) else None


def _fits_card(price: PriceConfig) -> bool:
    return price.per_second is None and not _calls(price)


def _calls(price: PriceConfig) -> tuple[tuple[str, int], ...]:
    told = ((name, getattr(price, name)) for name in PRICED_CALLS)
    return tuple((name, _amount(usd)) for name, usd in told if usd is not None)


def _rates(price: PriceConfig) -> Rates:
    if price.input is None or price.output is None:
        return FREE
    rates = Rates.per_million(**{leaf: getattr(price, leaf) for leaf in TOKEN_PRICES})
    return replace(rates, request=_amount(price.request))


def _amount(usd: Decimal | None) -> int:
    pico = Cost.from_usd(usd or 0).pico
    if pico < 0:
        raise MoneyError(f"price {usd} USD: want a number that is not negative")
    return pico


def _prices(config: Config, name: str, settings: HttpConfig | LlamaConfig) -> tuple[Price, ...]:
    """The price book's entries for a model."""
    key = ("models", name, "prices")
    if settings.price is not None:
        if _fits_card(settings.price):
            return ()  # the model's card states it
        key = ("models", name, "price")
    entries = settings.prices if settings.price is None else (settings.price,)
    groups: dict[tuple[str | None, str | None], dict[int, int]] = {}

    def wrong(number: int, message: object) -> ConfigError:
        if settings.price is not None:
            return config.error(str(message), *key)
        return config.error(f"entry {number + 1}: {message}", *key, f"[{number}]")

    for number, entry in enumerate(entries):
        try:
            _rates(entry), _amount(entry.per_second), _calls(entry)
        except MoneyError as error:
            raise wrong(number, error) from error
        since, tier, above = None, None, 0
        if isinstance(entry, PriceEntry):
            since = entry.since.isoformat() if entry.since else None
            tier, above = standard_tier(entry.service_tier), entry.above
        group = groups.setdefault((since, tier), {})
        if above in group:
            raise wrong(number, "another has the same from, above and service_tier")
        group[above] = number
    prices = []
    for (since, tier), group in groups.items():
        above = min(group)
        if above:
            raise wrong(
                group[above],
                f"above = {above} needs an entry without above, of the same from and service_tier",
            )
        tiers = {above: entries[number] for above, number in group.items()}
        if len(tiers) > 1 and tiers[0].per_second is not None:
            raise wrong(group[0], "seconds have no price above a number of tokens")
        prices.append(_price(since, tier, tiers))
    return tuple(prices)


def _price(since: str | None, tier: str | None, tiers: Mapping[int, PriceConfig]) -> Price:
    """The price of the entries `tiers`, by the number of input tokens that they hold above."""
    base = tiers[0]
    above = tuple((n, _rates(tiers[n])) for n in sorted(tiers) if n)
    source = "config"
    if base.per_second is not None:
        source = f"config, {Cost(_amount(base.per_second))} USD per second"
    return Price(_rates(base), source, since, above, tier, _amount(base.per_second), _calls(base))
