"""The contracts between the rooms."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from farthing.core.money import Cost, Rates
from farthing.core.request import Request
from farthing.core.response import Chunk, Response, Sample
from farthing.core.usage import Usage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Logits = NDArray[np.float32]

Kind = Literal["sample", "retry", "fallback", "judge", "cache"]
"""What a call is for: an answer, the same again, another model in place of one that failed, a
judgement of answers, or none, since a cache had the answer."""

StopReason = Literal["cap", "context", "abstained"]
"""Why a policy ended before it had decided: no money or time was left, its next prompt was longer
than the model's context window, or it gives no answer."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What is known about a model before it is called.

    Attributes:
        name: Farthing's name for it.
        rates: what it charges; None if it does not say (the price book may know).
        price_source: where `rates` come from, such as "config" or "FLOPs".
        upstream_name: the provider's name for it, by which the price book looks it up.
        context_window: tokens; None if unknown.
        shows: what an answer can carry: "text", "logprobs" (of each token), "hidden".
        n: whether one call can return several samples with the prompt billed once.
        on_disconnect: what becomes of a call whose caller leaves: "drain" reads it to its end in
            the background, "cancel" breaks it off, for upstreams that then bill less.
        drain_timeout_s: seconds that such a call is read on at most, before it is broken off.
        retries: how many times a call that failed is made again, see `budgets.retrying`.
        retry_after_max_s: seconds that an upstream may ask to be left alone for before a retry;
            a call that it asks to make later than that fails.
        total_timeout_s: seconds for a call with all its retries; None for no limit.
        most_cost: the most that a call for one sample can cost, where the model knows it.
    """

    name: str
    rates: Rates | None = None
    price_source: str | None = None
    upstream_name: str | None = None
    context_window: int | None = None
    shows: frozenset[str] = frozenset({"text"})
    n: bool = False
    on_disconnect: Literal["drain", "cancel"] = "drain"
    drain_timeout_s: float = 300.0
    retries: int = 0
    retry_after_max_s: float = 20.0
    total_timeout_s: float | None = None
    most_cost: Cost | None = None


@runtime_checkable
class Model(Protocol):
    """Anything that answers a request for a price."""

    card: ModelCard

    async def complete(self, request: Request) -> Response:
        """Answer with `request.n` samples; UpstreamError or RequestError when it cannot."""
        ...

    def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """Answer piece by piece; the last chunk carries usage where it is known."""
        ...


@runtime_checkable
class Routed(Model, Protocol):
    """A model that can be reached at several places, each a model itself with a `label`."""

    def route(self, request: Request, tried: Collection[str] = ()) -> Upstream:
        """Where to call it now, if possible not where it was `tried`; RestingError if nowhere.

        The call has to be made before the event loop goes on, since it counts from then.
        """
        ...

    def has_other(self, tried: Collection[str]) -> bool:
        """Whether it can be called at a place that has not been `tried`."""
        ...


class Upstream(Model, Protocol):
    """One of the places where a model can be reached.

    Attributes:
        label: its name among them.
    """

    label: str


class Operation(Protocol):
    """One user request in flight: the only way a policy reaches a model."""

    id: str
    key: str | None

    @property
    def spent(self) -> Cost:
        """What its booked calls cost, as far as it is known."""
        ...

    @property
    def unknown_attempts(self) -> int:
        """How many of its calls are of unknown cost."""
        ...

    @property
    def usage(self) -> Usage | None:
        """The tokens of all its calls together; None if none told any."""
        ...

    @property
    def remaining(self) -> Cost | None:
        """What is left of this operation's cap; None without a cap."""
        ...

    def card(self, model: str) -> ModelCard:
        """What is known about `model`; UnknownModelError if there is none of that name."""
        ...

    def rates(self, model: str) -> Rates | None:
        """What `model` charges now for tokens; None if unknown, or if it charges otherwise."""
        ...

    async def call(
        self,
        model: str,
        request: Request,
        *,
        node: str,
        kind: Kind = "sample",
        final: bool = False,
    ) -> Response:
        """Admit, call, read the answers, price and record one attempt.

        `final` promises that the answer is the policy's, whatever it is: then it may be shown to
        the client as it comes.

        `node` says which part of the policy asked, such as "cascade/0". Raises CapError, and
        calls nothing, if the operation's cap is used up.
        """
        ...

    def stream(
        self, model: str, request: Request, *, node: str, kind: Kind = "sample"
    ) -> AsyncIterator[Chunk]:
        """As `call`, piece by piece; booked even when the consumer goes away."""
        ...

    def read(self, sample: Sample) -> Sample:
        """The sample with its final answer read, if it has not been: one pieced together."""
        ...

    def stop(self, reason: StopReason) -> None:
        """Mark the operation: `reason` ended it before an answer was accepted."""
        ...


class Policy(Protocol):
    """How one request is answered."""

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The accepted answer; every call it took is booked in `operation`."""
        ...

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters, safe for JSON."""
        ...


class State(Protocol):
    """What a local model remembers of the tokens it has read (its KV cache)."""

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        ...

    def fork(self) -> State:
        """An independent copy."""
        ...

    def truncate(self, n: int) -> None:
        """Forget all but the first `n` tokens."""
        ...

    def keep(self, indices: Sequence[int]) -> None:
        """Forget all but the tokens at `indices`, in that order."""
        ...


class LocalModel(Model, Protocol):
    """A model in this process, which techniques and step-level policies can drive."""

    def start(self, tokens: Sequence[int]) -> State:
        """Read a prompt (prefill)."""
        ...

    def step(
        self, state: State, tokens: Sequence[int], mask: NDArray[np.bool_] | None = None
    ) -> Logits:
        """Read several tokens, or a tree of them, in one pass.

        `mask[i, j]` says whether new token i sees new token j; None means a plain sequence.
        Returns the logits after each new token, shape (len(tokens), vocabulary).
        """
        ...
