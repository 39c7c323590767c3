"""Any GGUF file in this process, through llama.cpp."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from farthing.core.errors import RequestError, UpstreamError
from farthing.core.money import Rates
from farthing.core.protocols import ModelCard
from farthing.core.request import Message, Request
from farthing.core.response import Chunk, Response, Sample, TokenLogprob
from farthing.core.usage import Usage
from farthing.models._llama import Engine, Event

PASSED_ON = (
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repeat_penalty",
    "logit_bias",
    "response_format",
    "grammar",
    "stop",
)
"""Fields of a request that are handed to llama.cpp as they are; others are ignored."""


class LlamaModel:
    """A GGUF model in this process, with its own chat template.

    Usage is counted by the engine: prompt tokens it computed (`input`), those it still had in
    memory (`cache_read`), and generated tokens with each sample's end token. Up to `slots`
    samples share one reading of the prompt; more are made in groups. A call whose caller leaves
    stops computing; a stream is then booked with the tokens of the pieces that came.

    Log-probabilities are the model's own, at temperature 1 before any cut. Those of tokens that
    llama.cpp holds back, because a character or a stop sequence may be unfinished, are lost; a
    model with a draft shows none at all.

    A temperature of None, and `top_p` and the like left out, mean llama.cpp's defaults. Sample i
    of a seed is drawn with seed + i. Without `max_tokens` an answer may fill the context.

    Attributes:
        card: its name, prices and abilities.
        slots: answers that are generated at once; further calls wait.
    """

    def __init__(
        self,
        name: str,
        path: str | Path,
        *,
        context: int = 4096,
        slots: int = 2,
        threads: int | None = None,
        draft: str | Path | None = None,
        system: str | None = None,
        rates: Rates | None = None,
    ) -> None:
        """Load a model, which takes seconds.

        Args:
            name: Farthing's name for it.
            path: of the GGUF file.
            context: tokens of one prompt with its answer.
            slots: answers at once; each takes the memory of a context.
            threads: for computing; None lets llama.cpp choose.
            draft: a smaller GGUF of the same vocabulary, whose guesses it checks.
            system: put before conversations that do not begin with a system message.
            rates: prices that take precedence over the price book.

        Raises ConfigError for files that cannot be used, or if the extra `llama` is missing.
        """
        self._engine = Engine(
            Path(path),
            context=context,
            slots=slots,
            threads=threads,
            draft=None if draft is None else Path(draft),
        )
        self.slots, self._system = slots, system
        self.card = ModelCard(
            name,
            rates=rates,
            price_source="config" if rates else None,
            context_window=context,
            shows=frozenset({"text"} if draft else {"text", "logprobs"}),
            n=True,
            on_disconnect="cancel",
        )

    async def complete(self, request: Request) -> Response:
        """Answer with `request.n` samples.

        Raises RequestError for a prompt that does not fit the context, before any computing,
        and for what the model or llama.cpp cannot do; UpstreamError if the engine fails.
        """
        answer = _Answer(request)
        async with aclosing(self._run(request, answer)) as chunks:
            async for _ in chunks:
                pass
        return Response(
            self.card.name,
            answer.samples(),
            answer.usage,
            "exact",
            ttft_s=answer.ttft_s,
        )

    async def stream(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """Answer piece by piece; every piece carries the usage so far. Raises as `complete`."""
        answer = _Answer(request)
        async with aclosing(self._run(request, answer)) as chunks:
            async for chunk in chunks:
                yield chunk
        yield Chunk(usage=answer.usage, usage_basis="exact")

    def counters(self) -> dict[str, float]:
        """The engine's own counters, such as `tokens_predicted_total`; see llama.cpp's metrics."""
        return self._engine.counters()

    async def aclose(self) -> None:
        """Break off what is under way, and free the model's memory."""
        await asyncio.to_thread(self._engine.close)

    async def _run(self, request: Request, answer: _Answer) -> AsyncGenerator[Chunk, None]:
        body = self._body(request)
        for first in range(0, request.n, self.slots):
            places = min(self.slots, request.n - first)
            group = {**body, "n": places}
            if request.seed is not None:
                group["seed"] = request.seed + first
            answer.begin(first, places)
            try:
                async with aclosing(self._engine.events(group, places)) as events:
                    async for event in events:
                        if "error" in event:
                            raise self._failed(event["error"])
                        for chunk in answer.read(event):
                            yield chunk
            except RuntimeError as error:
                raise RequestError(f"model {self.card.name!r} refuses the request: {error}") from (
                    error
                )
        if not answer.complete:
            name = self.card.name
            raise UpstreamError(f"model {name!r} was closed", model=name, kind="cut")

    def _body(self, request: Request) -> Event:
        if request.n < 1:
            raise RequestError(f"n must be at least 1, not {request.n}", param="n")
        heat = request.temperature
        if heat is not None and not (math.isfinite(heat) and heat >= 0):
            raise RequestError(f"temperature must be 0 or more, not {heat}", param="temperature")
        if request.max_tokens is not None and request.max_tokens < 1:
            raise RequestError(
                f"max_tokens must be at least 1, not {request.max_tokens}", param="max_tokens"
            )
        logprobs = "logprobs" in self.card.shows
        if request.logprobs and not logprobs:
            raise RequestError(
                f"model {self.card.name!r} has a draft, and shows no log-probabilities",
                param="logprobs",
                code="unsupported",
            )
        messages = [_message(place, message) for place, message in enumerate(request.messages)]
        if not messages:
            raise RequestError("there are no messages", param="messages")
        if self._system is not None and messages[0]["role"] != "system":
            messages.insert(0, {"role": "system", "content": self._system})
        body: Event = {
            "messages": messages,
            "stream": True,
            "return_progress": True,
            "timings_per_token": True,
        }
        if logprobs:
            body |= {"logprobs": True, "top_logprobs": 1}
        if heat is not None:
            body["temperature"] = heat
        if request.max_tokens is not None:
            body["max_tokens"] = request.max_tokens
        extra = {name: request.extra[name] for name in PASSED_ON if name in request.extra}
        stop = extra.get("stop")
        stops = stop if isinstance(stop, list) else [] if stop is None else [stop]
        if not all(isinstance(text, str) for text in stops):
            raise RequestError("stop must be a text or a list of texts", param="stop")
        return {**body, **{name: value for name, value in extra.items() if value is not None}}

    def _failed(self, error: Any) -> Exception:
        """The error that llama.cpp reports in its own shape."""
        told: Mapping[str, Any] = error if isinstance(error, Mapping) else {}
        name = self.card.name
        message = str(told.get("message") or "no reason given")
        if told.get("type") == "exceed_context_size_error":
            return RequestError(
                f"the prompt has {told.get('n_prompt_tokens')} tokens, and the context of model "
                f"{name!r} holds {told.get('n_ctx')}; shorten it, or raise `context`",
                param="messages",
                code="context_length_exceeded",
            )
        code = told.get("code")
        if isinstance(code, int) and 400 <= code < 500:
            return RequestError(f"model {name!r} refuses the request: {message}")
        status = code if isinstance(code, int) else None
        return UpstreamError(
            f"model {name!r} failed: {message}", model=name, kind="status", status=status
        )


def packaged(distribution: str) -> Path | None:
    """The GGUF file that an installed package ships, which is not imported; None without one."""
    try:
        files = metadata.files(distribution) or ()
    except metadata.PackageNotFoundError:
        return None
    paths = (Path(str(file.locate())) for file in files if file.suffix == ".gguf")
    return next((path for path in paths if path.is_file()), None)


def _message(place: int, message: Message) -> dict[str, str]:
    if isinstance(message.content, (list, tuple)) and any(
        part.get("type", "text") != "text" for part in message.content
    ):
        raise RequestError(
            "this model reads nothing but text",
            param=f"messages[{place}].content",
            code="unsupported",
        )
    return {"role": message.role, "content": message.text}


@dataclass(slots=True)
class _Tally:
    """What one sample has produced so far, and what its prompt took."""

    text: list[str] = field(default_factory=list)
    tokens: list[TokenLogprob] = field(default_factory=list)
    cached: int = 0
    prompt: int = 0
    output: int = 0
    finish_reason: str | None = None

    @property
    def mean_logprob(self) -> float | None:
        values = [value for _, value in self.tokens]
        return math.fsum(values) / len(values) if values else None

    @property
    def min_logprob(self) -> float | None:
        return min((value for _, value in self.tokens), default=None)


class _Answer:
    """Reads the events of all groups of samples of one request."""

    def __init__(self, request: Request) -> None:
        self._show = request.logprobs
        self._tallies = [_Tally() for _ in range(request.n)]
        self._first, self._firsts = 0, [0]
        self._started = time.perf_counter()
        self.ttft_s: float | None = None

    def begin(self, first: int, places: int) -> None:
        """The events that follow are those of the samples from `first` on."""
        self._first = first
        if first:
            self._firsts.append(first)

    @property
    def complete(self) -> bool:
        """Whether every sample has come to its end."""
        return all(tally.finish_reason is not None for tally in self._tallies)

    @property
    def usage(self) -> Usage:
        """Each group's prompt once, and what all samples generated."""
        prompts = [self._tallies[first] for first in self._firsts]
        return Usage(
            input=sum(tally.prompt for tally in prompts),
            cache_read=sum(tally.cached for tally in prompts),
            output=sum(tally.output for tally in self._tallies),
        )

    def read(self, event: Event) -> list[Chunk]:
        """The chunks of an event; none for one that only tells of progress."""
        chunks = []
        for choice in event.get("choices") or ():
            index = self._first + choice.get("index", 0)
            tally = self._tallies[index]
            timings = event.get("timings")
            if timings:
                tally.cached, tally.prompt = timings["cache_n"], timings["prompt_n"]
                tally.output = timings["predicted_n"]
            tokens = _tokens(choice)
            tally.tokens += tokens
            text = (choice.get("delta") or {}).get("content") or ""
            tally.text.append(text)
            if text and self.ttft_s is None:
                self.ttft_s = time.perf_counter() - self._started
            reason = choice.get("finish_reason")
            shown = tuple(tokens) if self._show and tokens else None
            if reason is not None:
                tally.finish_reason = reason
                chunks.append(
                    Chunk(
                        text,
                        index,
                        reason,
                        usage=self.usage,
                        usage_basis="exact",
                        output_tokens=tally.output,
                        tokens=shown,
                        mean_logprob=tally.mean_logprob,
                        min_logprob=tally.min_logprob,
                    )
                )
            elif text or tokens:
                chunks.append(
                    Chunk(text, index, usage=self.usage, usage_basis="exact", tokens=shown)
                )
        return chunks

    def samples(self) -> tuple[Sample, ...]:
        """The finished samples."""
        return tuple(
            Sample(
                "".join(tally.text),
                finish_reason=tally.finish_reason,
                output_tokens=tally.output,
                tokens=tuple(tally.tokens) if self._show else None,
                mean_logprob=tally.mean_logprob,
                min_logprob=tally.min_logprob,
            )
            for tally in self._tallies
        )


def _tokens(choice: Mapping[str, Any]) -> list[TokenLogprob]:
    """Texts and log-probabilities of the tokens of an event."""
    content = (choice.get("logprobs") or {}).get("content") or ()
    return [(token["token"], token["logprob"]) for token in content]
