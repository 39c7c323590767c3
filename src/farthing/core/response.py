"""What a model answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from farthing.core.canonical import canonical, canonical_json
from farthing.core.money import Cost
from farthing.core.usage import Usage

Basis = Literal["exact", "estimated", "unknown"]
TokenLogprob = tuple[str, float]


@dataclass(frozen=True, slots=True)
class Sample:
    """One of the answers to a request.

    Attributes:
        text: the verbatim output.
        answer: the final answer, read and normalised; None if none could be read (or not yet).
        read: whether `answer` has been read from `text` (recordings come with it read).
        finish_reason: "stop", "length", "tool_calls", ... as in OpenAI's format.
        mean_logprob, min_logprob: of the answer's tokens (natural logarithm); None if unknown.
        output_tokens: this sample's share of the generated tokens; None if unknown.
        tokens: text and log-probability of each token, where `Request.logprobs` asked for them
            and the model shows them.
        top: of each token's place the likeliest tokens, where `extra["top_logprobs"]` asked for
            so many and the model shows them.
        correct: 0 to 1, where a reference is known (recordings only).
        columns: other numbers known about this sample (recordings only).
        fields: the message's other fields as on the wire (tool_calls, refusal, ...).
    """

    text: str
    answer: str | None = None
    read: bool = False
    finish_reason: str | None = None
    mean_logprob: float | None = None
    min_logprob: float | None = None
    output_tokens: int | None = None
    tokens: tuple[TokenLogprob, ...] | None = None
    top: tuple[tuple[TokenLogprob, ...], ...] | None = None
    correct: float | None = None
    columns: Mapping[str, float | None] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tool_calls(self) -> Sequence[Any]:
        """The tool calls among `fields`, in OpenAI's chat format; empty without any."""
        calls = self.fields.get("tool_calls")
        return calls if isinstance(calls, list | tuple) else ()

    @property
    def called(self) -> str | None:
        """The functions called and their arguments as canonical JSON; None if none was called.

        Two samples that call the same are equal here, whatever the identifiers of their calls
        and however their arguments are spelled. Arguments that are no JSON are kept as text.
        """
        calls = []
        for call in self.tool_calls:
            function = call.get("function") if isinstance(call, Mapping) else None
            told = function if isinstance(function, Mapping) else {}
            arguments = told.get("arguments")
            spelled = canonical_json(arguments) if isinstance(arguments, str) else None
            if spelled is None:
                spelled = canonical(arguments)
            calls.append(f"[{canonical(told.get('name'))},{spelled}]")
        return f"[{','.join(calls)}]" if calls else None


@dataclass(frozen=True, slots=True)
class Response:
    """The answer of one call of a model, or of a policy.

    Attributes:
        model: who answered, by Farthing's name for it.
        samples: at least one.
        usage: tokens in disjoint leaves; None if unknown.
        usage_basis: "exact" when the model counted, "estimated" when we did, else "unknown".
        cost: set by a model that knows its own cost (a recording), by `Operation.call`
            otherwise; None if unknown.
        latency_s: seconds from call to last byte; None if unknown.
        ttft_s: seconds from call to first token; None if unknown.
        raw: the upstream's own bytes, where they may be passed on as they are.
        upstream_id: the upstream's identifier of the call, if it gave one.
        service_tier: what the upstream says it was served at; None for the standard tier.
        billed_calls: how many calls within the answer the upstream bills one by one, beside the
            tokens, by the names of their prices, such as "web_search".
    """

    model: str
    samples: tuple[Sample, ...]
    usage: Usage | None = None
    usage_basis: Basis = "unknown"
    cost: Cost | None = None
    latency_s: float | None = None
    ttft_s: float | None = None
    raw: bytes | None = None
    upstream_id: str | None = None
    service_tier: str | None = None
    billed_calls: Mapping[str, int] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The first sample's text."""
        return self.samples[0].text


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a streamed answer.

    Attributes:
        text: new text of sample `index`; empty in chunks that only carry an end or usage.
        finish_reason: set on the last chunk of a sample.
        usage: of all so far; set on the last chunk of the stream, if the model tells it, and by
            some models before.
        raw: the upstream's own bytes of this event (`data: ...`, with the blank line), where
            they may be passed on as they are.
        mean_logprob, min_logprob: set with finish_reason, where known.
        tokens: as `Sample.tokens`, of the tokens in this chunk.
        service_tier, billed_calls: as those of `Response`, with the usage.
        tool_calls: new pieces of tool calls of sample `index`, as in OpenAI's chat streams.
        last: whether it is the stream's end, which is held back until all is booked.
        upstream_id: as that of `Response`; set as soon as it is known.
        cost: of all so far, from models that know their own cost.
        sample: the whole of sample `index`, set with finish_reason by models that know more of
            it than its text (recordings).
    """

    text: str = ""
    index: int = 0
    finish_reason: str | None = None
    usage: Usage | None = None
    usage_basis: Basis = "unknown"
    raw: bytes | None = None
    mean_logprob: float | None = None
    min_logprob: float | None = None
    output_tokens: int | None = None
    tokens: tuple[TokenLogprob, ...] | None = None
    service_tier: str | None = None
    billed_calls: Mapping[str, int] = field(default_factory=dict)
    upstream_id: str | None = None
    tool_calls: Sequence[Mapping[str, Any]] = ()
    last: bool = False
    cost: Cost | None = None
    sample: Sample | None = None
