"""A model with several upstreams: which of them a call goes to, and which are left alone."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from farthing.core.errors import RestingError, UpstreamError
from farthing.core.protocols import Model
from farthing.core.request import Request
from farthing.core.response import Chunk, Response
from farthing.models.breaker import Breaker, BreakerRule, State
from farthing.models.closing import close_models

_KEY_STATUSES = frozenset({401, 403, 408})


@dataclass(frozen=True, slots=True)
class Health:
    """How an upstream does.

    Attributes:
        upstream: its label; empty for a model's only one.
        state: "closed" if calls go to it, "open" if it is left alone, "half-open" if one call is
            let through to find out.
        wait_s: seconds until it may be called again; 0 if it may.
        outstanding: calls under way.
        calls, failures: since the start; a failure is one that counts for the breaker.
    """

    upstream: str
    state: State
    wait_s: float
    outstanding: int
    calls: int
    failures: int


class Replica:
    """One upstream of a model, which counts its calls and leaves it alone when they fail."""

    def __init__(self, label: str, model: Model, breaker: Breaker) -> None:
        self.label, self.model, self.breaker = label, model, breaker
        self.card = model.card
        self.outstanding = self.calls = self.failures = 0

    async def complete(self, request: Request) -> Response:
        """The upstream's answer; raises as it does."""
        began, failed = self._begin(), None
        try:
            response = await self.model.complete(request)
            failed = False
            return response
        except UpstreamError as error:
            failed = is_blamed(error)
            raise
        finally:
            self._end(began, failed)

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """The upstream's answer, piece by piece; its first piece says that the upstream works."""
        began, failed, silent = self._begin(), None, True
        try:
            chunks = self.model.stream(request)
            try:
                async for chunk in chunks:
                    if silent:
                        silent = False
                        self.breaker.end(began, False)
                        began = self.breaker.begin() if self.breaker.state == "closed" else -1
                    yield chunk
            finally:
                close = getattr(chunks, "aclose", None)
                if close is not None:
                    await close()
        except UpstreamError as error:
            failed = is_blamed(error)
            raise
        finally:
            self._end(began, failed)

    def health(self) -> Health:
        """How it does now."""
        breaker = self.breaker
        counts = self.outstanding, self.calls, self.failures
        return Health(self.label, breaker.state, breaker.wait_s, *counts)

    def _begin(self) -> int:
        self.outstanding += 1
        self.calls += 1
        return self.breaker.begin()

    def _end(self, began: int, failed: bool | None) -> None:
        self.outstanding -= 1
        self.failures += bool(failed)
        self.breaker.end(began, failed)


class Upstreams:
    """A model that can be reached at several places, at one price and under one name.

    A call goes where the fewest are under way, among equals at random. Calls of one conversation
    go to the same upstream, whose cache then holds it, as long as it has fewer than `affinity`
    times as many calls under way as would be the fewest with this one. Upstreams whose breaker is
    open get none.

    Attributes:
        card: that of the first upstream, with what is said here of retries.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        *,
        retries: int = 2,
        retry_after_max_s: float = 20,
        total_timeout_s: float | None = None,
        breaker: BreakerRule | None = None,
        affinity: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """A model with these upstreams, by their labels.

        Args:
            retries, retry_after_max_s, total_timeout_s: see `ModelCard`.
            breaker: when an upstream is left alone.
            affinity: 0 lets conversations go anywhere.
            clock: in seconds, for the breakers.
        """
        first = next(iter(models.values()))
        self.card = replace(
            first.card,
            retries=retries,
            retry_after_max_s=retry_after_max_s,
            total_timeout_s=total_timeout_s,
        )
        name, several = self.card.name, len(models) > 1
        self._replicas = [
            Replica(
                label if several else "",
                model,
                Breaker(
                    breaker,
                    name=f"model {name!r}, upstream {label}" if several else f"model {name!r}",
                    clock=clock,
                ),
            )
            for label, model in models.items()
        ]
        self._affinity = affinity

    @property
    def models(self) -> list[Model]:
        """What calls the upstreams."""
        return [replica.model for replica in self._replicas]

    async def complete(self, request: Request) -> Response:
        """One call of one upstream; raises as it does, or RestingError."""
        return await self.route(request).complete(request)

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """As `complete`, piece by piece."""
        async with aclosing(self.route(request).stream(request)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                yield chunk

    def route(self, request: Request, tried: Collection[str] = ()) -> Replica:
        """See `farthing.core.protocols.Routed`."""
        if len(self._replicas) == 1:
            (only,) = self._replicas
            if only.breaker.is_ready:
                return only
            raise self._resting()
        ready = [replica for replica in self._replicas if replica.breaker.is_ready]
        if not ready:
            raise self._resting()
        if tried:
            ready = [replica for replica in ready if replica.label not in tried] or ready
        return ready[0] if len(ready) == 1 else self._choose(ready, request)

    def has_other(self, tried: Collection[str]) -> bool:
        """See `farthing.core.protocols.Routed`."""
        return len(self._replicas) > 1 and any(
            replica.label not in tried and replica.breaker.is_ready for replica in self._replicas
        )

    def health(self) -> tuple[Health, ...]:
        """How each upstream does."""
        return tuple(replica.health() for replica in self._replicas)

    async def aclose(self) -> None:
        """Close the connections of all upstreams."""
        await close_models(self.models)

    def _choose(self, ready: Sequence[Replica], request: Request) -> Replica:
        least = min(replica.outstanding for replica in ready)
        if self._affinity and request.messages:
            opening = request.opening_id()
            for replica in sorted(ready, key=lambda r: _weight(opening, r.label), reverse=True):
                if replica.outstanding < self._affinity * (least + 1):
                    return replica
        return random.choice([replica for replica in ready if replica.outstanding == least])

    def _resting(self) -> RestingError:
        wait_s = min(replica.breaker.wait_s for replica in self._replicas)
        name = self.card.name
        what = "its upstream" if len(self._replicas) == 1 else "each of its upstreams"
        return RestingError(
            f"model {name!r}: {what} failed repeatedly and is left alone; it is tried again "
            f"in {wait_s:.1f} s",
            model=name,
            retry_after_s=wait_s,
        )


def is_blamed(error: UpstreamError) -> bool | None:
    """Whether a failed call speaks against its upstream; None if it says nothing.

    What the client has to change speaks for an upstream that found it out. A refused key speaks
    against it; a rate limit says nothing, since smaller requests may still pass.
    """
    if error.kind != "status":
        return True
    status = error.status or 0
    if status == 429:
        return None
    return status >= 500 or status in _KEY_STATUSES


def _weight(opening: str, label: str) -> bytes:
    """Rendezvous hashing: the upstream of the greatest weight is an opening's own."""
    return hashlib.blake2b(f"{opening}/{label}".encode(), digest_size=8).digest()
