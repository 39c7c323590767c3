"""What may stand in the configuration file about a model and its prices."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

import msgspec

from farthing.cost.calls import PRICED as PRICED_CALLS
from farthing.gateway.sections import Name, Seconds, Section


class PriceConfig(Section, frozen=True, kw_only=True):
    """A price: USD per million tokens, per call (`request`), or per second of the call.

    `web_search` and `file_search` are USD for each that the model makes within an answer.
    """

    input: Decimal | None = None
    output: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    reasoning: Decimal | None = None
    input_audio: Decimal | None = None
    output_audio: Decimal | None = None
    input_image: Decimal | None = None
    request: Decimal | None = None
    per_second: Decimal | None = None
    web_search: Decimal | None = None
    file_search: Decimal | None = None

    def __post_init__(self) -> None:
        tokens = [name for name in TOKEN_PRICES if getattr(self, name) is not None]
        if tokens or self.per_second is None:
            for name in ("input", "output"):
                if getattr(self, name) is None:
                    raise ValueError(f"missing key {name}")


class PriceEntry(PriceConfig, frozen=True, kw_only=True):
    """One of a model's prices, and when it holds.

    Attributes:
        since: first day, in UTC; `from` in the file.
        above: it holds for requests with more input tokens than this.
        service_tier: the service tier that it is for.
    """

    since: date | None = msgspec.field(name="from", default=None)
    above: Annotated[int, msgspec.Meta(ge=0)] = 0
    service_tier: Name | None = None

    def __post_init__(self) -> None:
        PriceConfig.__post_init__(self)
        if self.above and self.per_second is not None:
            raise ValueError("seconds have no price above a number of tokens")
        for name in PRICED_CALLS:
            if self.above and getattr(self, name) is not None:
                raise ValueError(f"{name} has no price above a number of tokens")


TOKEN_PRICES = tuple(
    name
    for name in PriceConfig.__struct_fields__
    if name not in ("request", "per_second", *PRICED_CALLS)
)


class TinyConfig(Section, frozen=True, kw_only=True):
    """One of the models in the package."""

    kind: str
    size: Literal["small", "mid", "large"]


class RecordedConfig(Section, frozen=True, kw_only=True):
    """Answers from a recording; `model` is the recording's name for the model."""

    kind: str
    path: Name
    model: Name
    samples: Annotated[int, msgspec.Meta(ge=1)] | None = None
    seed: int = 0


class BreakerConfig(Section, frozen=True, kw_only=True):
    """When an upstream is left alone; see `farthing.models.breaker.BreakerRule`."""

    failures: Annotated[int, msgspec.Meta(ge=0)] = 5
    share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    calls: Annotated[int, msgspec.Meta(ge=1)] = 20
    window_s: Seconds = 30
    pause_s: Seconds = 10


class ReplicaConfig(Section, frozen=True, kw_only=True):
    """One of a model's upstreams; what it leaves out is as the model says."""

    base_url: Name | None = None
    model: Name | None = None
    key_env: Name | None = None
    headers: dict[str, str] | None = None
    label: Name | None = None


class HttpConfig(Section, frozen=True, kw_only=True):
    """An upstream, or several `replicas` at one price.

    See `farthing.models.http.HttpModel` and `farthing.models.replicas.Upstreams`.
    """

    kind: str
    api: Literal["openai", "anthropic"] = "openai"
    base_url: Name | None = None
    model: Name | None = None
    key_env: Name | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 4096
    timeout_s: Seconds = 120
    connect_timeout_s: Seconds = 10
    n: bool = True
    stream_usage: bool = True
    env_proxy: bool = False
    on_disconnect: Literal["drain", "cancel"] = "drain"
    drain_timeout_s: Seconds = 300
    retries: Annotated[int, msgspec.Meta(ge=0, le=20)] = 2
    retry_after_max_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 20
    total_timeout_s: Seconds | None = None
    affinity: Annotated[float, msgspec.Meta(ge=0)] = 2
    breaker: BreakerConfig = BreakerConfig()
    replicas: tuple[ReplicaConfig, ...] = ()
    price: PriceConfig | None = None
    prices: tuple[PriceEntry, ...] = ()

    def __post_init__(self) -> None:
        if self.price is not None and self.prices:
            raise ValueError("state either price or prices")
        if self.base_url is None:
            if not self.replicas:
                raise ValueError("missing key base_url")
            for number, replica in enumerate(self.replicas):
                if replica.base_url is None:
                    raise ValueError(f"entry {number + 1} of replicas: missing key base_url")

    @property
    def upstreams(self) -> tuple[ReplicaConfig, ...]:
        """Its replicas, with what the model says for all of them; at least one."""
        return tuple(
            ReplicaConfig(
                base_url=replica.base_url or self.base_url,
                model=replica.model or self.model,
                key_env=replica.key_env or self.key_env,
                headers=self.headers if replica.headers is None else replica.headers,
                label=replica.label,
            )
            for replica in self.replicas or (ReplicaConfig(),)
        )


class LlamaConfig(Section, frozen=True, kw_only=True):
    """A GGUF file in this process; see `farthing.models.llama.LlamaModel`."""

    kind: str
    path: Name
    context: Annotated[int, msgspec.Meta(ge=16, le=10_000_000)] = 4096
    slots: Annotated[int, msgspec.Meta(ge=1, le=256)] = 2
    threads: Annotated[int, msgspec.Meta(ge=1, le=512)] | None = None
    draft: Name | None = None
    system: Name | None = None
    price: PriceConfig | None = None
    prices: tuple[PriceEntry, ...] = ()

    def __post_init__(self) -> None:
        if self.price is not None and self.prices:
            raise ValueError("state either price or prices")


ModelConfig = TinyConfig | RecordedConfig | HttpConfig | LlamaConfig
KINDS: dict[str, type[ModelConfig]] = {
    "tiny": TinyConfig,
    "http": HttpConfig,
    "recorded": RecordedConfig,
    "llama": LlamaConfig,
}
