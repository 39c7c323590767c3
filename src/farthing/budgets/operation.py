"""One user request in flight: the only way a policy reaches a model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, TypeVar

from farthing.budgets._stream import StreamLimit, StreamReader
from farthing.budgets.attempt import Attempt
from farthing.budgets.drains import Drains, drains
from farthing.budgets.retrying import Tries, again, route, too_late
from farthing.core.changing import changed
from farthing.core.errors import CapError, RequestError, UnknownModelError, UpstreamError
from farthing.core.money import Cost, Rates
from farthing.core.protocols import Kind, Model, ModelCard, StopReason
from farthing.core.request import Request
from farthing.core.response import Chunk, Response, Sample
from farthing.core.usage import Usage
from farthing.cost.estimate import estimate_usage
from farthing.cost.prices import Price, PriceBook
from farthing.ledger.rows import OperationRow, OutcomeRow, Status, new_id
from farthing.ledger.store import Store

T = TypeVar("T")
Reader = Callable[[str], str | None]


class Operation:
    """A request in flight: prices, bounds and books each call that a policy makes for it.

    Args:
        models: what can be called, by name.
        prices: for models that do not state their own cost.
        ledger: where attempts are booked; None keeps them only in `attempts`.
        reader: reads the final answer from a text, for samples that come unread.
        reader_name: the name under which `reader` is known.
        cap: the most this operation may cost. It is checked before each call, so that the
            last call can exceed it.
        requested: the model or plan that the client asked for.
        plan: the plan that answers; None for a single model.
        strongest: the plan's last model, against which savings are reckoned.
        key, tags: whose request it is.
        question, prompt: what is asked; see `OperationRow`.
        stream: whether the client wants the answer piece by piece.
        gateway: the process that has it, as the ledger knows it.
        budget, alpha: what the plan's certificate says about this operation.
        certificate: the digest of the plan that makes this promise.
        drains: holds the calls that go on when the caller has left.
        id: made by `new_id`; None for a new one.

    Attributes:
        attempts: its calls, in the order in which they began.
        spent: what those that are booked cost, as far as it is known.
        unknown_attempts: how many of them are of unknown cost.
        stopped: what ended it before its policy had decided; see `stop`.
        live: is handed the pieces of a `final` call as they come; None lets it come whole.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        *,
        prices: PriceBook,
        ledger: Store | None = None,
        reader: Reader | None = None,
        reader_name: str | None = None,
        cap: Cost | None = None,
        requested: str = "",
        plan: str | None = None,
        strongest: str | None = None,
        key: str | None = None,
        tags: Mapping[str, str] | None = None,
        question: str = "",
        prompt: str | None = None,
        stream: bool = False,
        gateway: str | None = None,
        budget: Cost | None = None,
        alpha: float | None = None,
        certificate: str | None = None,
        drains: Drains = drains,
        id: str | None = None,
    ) -> None:
        self.id = id or new_id()
        self.models, self.prices, self.ledger, self.reader = models, prices, ledger, reader
        self.cap, self.budget, self.alpha, self.key = cap, budget, alpha, key
        self.certificate = certificate
        self.attempts: list[Attempt] = []
        self.spent = Cost(0)
        self.unknown_attempts = 0
        self.stopped: StopReason | None = None
        self.live: Callable[[Chunk], Awaitable[None]] | None = None
        self._drains = drains
        self._running: dict[asyncio.Task[Any], asyncio.Future[None] | None] = {}
        if ledger is not None:
            ledger.begin(
                OperationRow(
                    id=self.id,
                    started_at=datetime.now(UTC),
                    question=question,
                    prompt=prompt,
                    requested=requested,
                    plan=plan,
                    strongest=strongest,
                    key=key,
                    tags=tags or {},
                    answer_reader=reader_name,
                    stream=stream,
                    gateway=gateway,
                )
            )

    @property
    def remaining(self) -> Cost | None:
        """What is left of the cap, at least zero; None without a cap."""
        if self.cap is None:
            return None
        return max(Cost(0), self.cap - self.spent)

    @property
    def usage(self) -> Usage | None:
        """The tokens of all attempts together; None if no attempt told any."""
        total: Usage | None = None
        for attempt in self.attempts:
            usage = attempt.response.usage if attempt.response else None
            if usage is not None:
                total = usage if total is None else total + usage
        return total

    def card(self, model: str) -> ModelCard:
        """What is known about `model`; UnknownModelError if there is none of that name."""
        return self._model(model).card

    def rates(self, model: str) -> Rates | None:
        """What `model` charges now for tokens; None if unknown, or if it charges otherwise."""
        price = self.prices.price(self._model(model).card)
        return None if price is None or price.per_second else price.rates

    async def call(
        self,
        model: str,
        request: Request,
        *,
        node: str,
        kind: Kind = "sample",
        final: bool = False,
    ) -> Response:
        """Call `model`, read its answers, price and book the attempt.

        A `final` call is one whose answer is the policy's, whatever it is: with `live` it is
        streamed, and still returned when it is whole and booked.

        A call that fails is made again as the model's card says, each time as an attempt of
        kind "retry", or still "judge". If the caller is cancelled, an operation with a ledger
        lets the call run on in the background, or breaks it off, as the model's card says, and
        books what it is billed; it is not made again.

        Raises:
            UnknownModelError: there is no such model.
            CapError: the cap was already reached; nothing was called.
            UpstreamError: the model failed, its retries too; the attempts are booked.
        """
        if final and self.live is not None:
            pieces = self.stream(model, request, node=node, kind=kind)
            return await self._call_live(self.live, pieces)
        chosen = self._model(model)
        seconds = chosen.card.total_timeout_s
        if seconds is None:
            return await self._call(chosen, model, request, node, kind)
        try:
            async with asyncio.timeout(seconds) as limit:
                return await self._call(chosen, model, request, node, kind)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise too_late(chosen.card) from error

    async def _call_live(
        self, live: Callable[[Chunk], Awaitable[None]], pieces: AsyncGenerator[Chunk, None]
    ) -> Response:
        shown = False
        try:
            async with aclosing(pieces):
                async for chunk in pieces:
                    shown = True
                    await live(chunk)
        except UpstreamError as error:
            error.shown = shown
            raise
        response = self.attempts[-1].response
        assert response is not None
        return response

    async def _call(
        self, chosen: Model, model: str, request: Request, node: str, kind: Kind
    ) -> Response:
        tries: Tries | None = None
        while True:
            attempt = self._attempt(model, request, node, kind)
            try:
                if self.ledger is None:
                    return await self._complete(chosen, request, attempt, tries)
                work = self._spawn(self._complete(chosen, request, attempt, tries))
                try:
                    return await self._result(work)
                except asyncio.CancelledError:
                    if not work.done():
                        self._leave(attempt, work)
                    raise
            except UpstreamError as error:
                tries = tries or Tries(chosen, attempt.started)
                wait = tries.after(error, attempt.upstream)
                if wait is None:
                    raise
            await asyncio.sleep(wait)
            kind = again(kind)

    async def stream(
        self, model: str, request: Request, *, node: str, kind: Kind = "sample"
    ) -> AsyncGenerator[Chunk, None]:
        """As `call`, piece by piece; a call is made again only if it fails before its first piece.

        The attempt is booked before the last chunk's successor is asked for, once, also when
        the consumer goes away: then the rest of the answer is read in the background, or left
        unread, as the model's card says.
        """
        chosen = self._model(model)
        tries: Tries | None = None
        limit = StreamLimit(chosen.card.total_timeout_s)
        try:
            while True:
                attempt = self._attempt(model, request, node, kind)
                reader = StreamReader(model, attempt.started)
                task = self._spawn(self._read(chosen, request, attempt, reader, tries))
                limit.reader = reader
                passed = False
                try:
                    while chunks := await reader.take():
                        passed = True
                        for chunk in chunks:
                            yield chunk
                    if limit.is_over and not task.done():
                        raise too_late(chosen.card)
                    await task
                    return
                except UpstreamError as error:
                    tries = tries or Tries(chosen, attempt.started)
                    wait = None if passed else tries.after(error, attempt.upstream)
                    if wait is None:
                        raise
                finally:
                    if not task.done():
                        self._leave(attempt, task)
                        reader.leave()
                await asyncio.sleep(wait)
                kind = again(kind)
        finally:
            limit.cancel()

    def book_cached(
        self, model: str, request: Request, response: Response, *, node: str
    ) -> Response:
        """Book an answer of `model` that a cache had: nothing was called, and it costs nothing.

        Returns it as booked, without tokens, since none were billed. It is booked also when the
        cap is used up. Raises UnknownModelError if there is no such model.
        """
        self._model(model)
        attempt = self._begin(model, request, node, "cache")
        response = changed(
            response,
            samples=tuple(self.read(sample) for sample in response.samples),
            usage=Usage(),
            usage_basis="exact",
            cost=Cost(0),
            latency_s=perf_counter() - attempt.started,
            ttft_s=None,
        )
        attempt.response, attempt.cost = response, response.cost
        self._settle(attempt, None)
        return response

    def read(self, sample: Sample) -> Sample:
        """The sample with its final answer read, if it has not been."""
        if sample.read or self.reader is None:
            return sample
        called = sample.called
        answer = self.reader(sample.text) if called is None else called
        return changed(sample, answer=answer, read=True)

    def stop(self, reason: StopReason) -> None:
        """Mark the operation: `reason` ended it before an answer was accepted."""
        self.stopped = reason

    async def finish(
        self,
        status: Status,
        response: Response | None = None,
        *,
        signal: float | None = None,
        error: str | None = None,
    ) -> None:
        """Book the outcome and wait until all that was booked is safe.

        `response` is the accepted answer. Raises LedgerError if it could not be written.
        """
        if self.ledger is None:
            return
        await self.ledger.finish(
            OutcomeRow(
                operation_id=self.id,
                finished_at=datetime.now(UTC),
                status=status,
                answered_by=response.model if response else None,
                answer=response.samples[0].answer if response else None,
                signal=signal,
                budget=self.budget,
                alpha=self.alpha,
                error=error,
                stopped=self.stopped,
                certificate=self.certificate,
                calls=len(self.attempts),
            )
        )

    @property
    def is_running(self) -> bool:
        """Whether a call runs, be it in the background."""
        return bool(self._running)

    async def idle(self) -> None:
        """Return when no call runs any more, not even in the background: all are booked."""
        while self._running:
            await asyncio.wait(set(self._running))

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = self._drains.spawn(work, self._ended)
        self._running[task] = None
        return task

    async def _result(self, task: asyncio.Task[T]) -> T:
        """What `task` returns or raises; it goes on if the caller is cancelled."""
        waiter = self._running[task] = asyncio.get_running_loop().create_future()
        await waiter
        return task.result()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        waiter = self._running.pop(task)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _model(self, name: str) -> Model:
        try:
            return self.models[name]
        except KeyError:
            known = ", ".join(sorted(self.models)) or "none"
            raise UnknownModelError(f"there is no model {name!r}; known are: {known}") from None

    def _leave(self, attempt: Attempt, task: asyncio.Task[Any]) -> None:
        """Nobody waits for `task` any more: let it read on for some time, or break it off."""
        attempt.status = "cancelled"
        card = self.models[attempt.model].card
        if card.on_disconnect == "cancel":
            # A task that is cancelled before its first step books nothing.
            asyncio.get_running_loop().call_soon(task.cancel)
        else:
            self._drains.limit(task, card.drain_timeout_s)

    def _attempt(self, model: str, request: Request, node: str, kind: Kind) -> Attempt:
        if self.cap is not None and self.spent >= self.cap:
            raise CapError(
                f"the operation's cap of {self.cap} USD is used up: {self.spent} USD spent in "
                f"{len(self.attempts)} attempts; {model!r} was not called"
            )
        return self._begin(model, request, node, kind)

    def _begin(self, model: str, request: Request, node: str, kind: Kind) -> Attempt:
        attempt = Attempt(
            number=len(self.attempts),
            node=node,
            model=model,
            started=perf_counter(),
            started_at=None if self.ledger is None else datetime.now(UTC),
            request=request,
            kind=kind,
        )
        self.attempts.append(attempt)
        return attempt

    async def _complete(
        self, model: Model, request: Request, attempt: Attempt, tries: Tries | None
    ) -> Response:
        try:
            response = await route(model, request, attempt, tries).complete(request)
        except BaseException as error:
            self._book_failure(attempt, model, error)
            raise
        return self._book(attempt, model, response)

    async def _read(
        self,
        model: Model,
        request: Request,
        attempt: Attempt,
        reader: StreamReader,
        tries: Tries | None,
    ) -> None:
        try:
            await reader.read(route(model, request, attempt, tries).stream(request))
        except BaseException as error:
            self._book_failure(attempt, model, error, reader.response())
            raise
        else:
            self._book(attempt, model, reader.response())
        finally:
            reader.end()

    def _book_failure(
        self,
        attempt: Attempt,
        model: Model,
        error: BaseException,
        partial: Response | None = None,
    ) -> None:
        cancelled = isinstance(error, asyncio.CancelledError)
        attempt.status = "cancelled" if cancelled else "failed"
        attempt.error = (str(error) or None) if cancelled else f"{type(error).__name__}: {error}"
        if attempt.upstream is not None:
            attempt.error = f"{attempt.error or 'cancelled'} (upstream {attempt.upstream})"
        if partial is not None and (partial.usage is not None or partial.text):
            self._book(attempt, model, partial, complete=False)
            return
        free = isinstance(error, UpstreamError) and error.is_free
        price = None
        if free or isinstance(error, RequestError):
            attempt.cost = Cost(0)
        else:  # what is paid by the second is known without tokens
            attempt.cost, price = self.prices.cost(
                model.card,
                None,
                attempt.started_at,
                seconds=perf_counter() - attempt.started,
            )
        self._settle(attempt, price if attempt.cost is not None else None)

    def _book(
        self, attempt: Attempt, model: Model, response: Response, *, complete: bool = True
    ) -> Response:
        """Price and book an answer; usage that a complete one does not tell is estimated."""
        price = None
        changes: dict[str, object] = {}
        seconds = response.latency_s
        if seconds is None:
            seconds = changes["latency_s"] = perf_counter() - attempt.started
        if response.cost is None:
            usage = response.usage
            if usage is None and complete:
                texts = [sample.text for sample in response.samples]
                usage, basis = estimate_usage(attempt.request, texts)
                changes |= {"usage": usage, "usage_basis": basis}
            changes["cost"], price = self.prices.cost(
                model.card,
                usage,
                attempt.started_at,
                service_tier=response.service_tier,
                seconds=seconds,
                calls=response.billed_calls,
            )
        if self.reader is not None and not all(sample.read for sample in response.samples):
            changes["samples"] = tuple(self.read(sample) for sample in response.samples)
        if changes:
            response = changed(response, **changes)
        attempt.response, attempt.cost = response, response.cost
        self._settle(attempt, price)
        return response

    def _settle(self, attempt: Attempt, price: Price | None) -> None:
        """Count the attempt's cost and book it."""
        if attempt.cost is None:
            self.unknown_attempts += 1
        else:
            self.spent += attempt.cost
        if self.ledger is not None:
            card = self.models[attempt.model].card
            self.ledger.attempt(attempt.row(self.id, card, price))
