"""How vendors tell the usage of an answer, plain and streamed; written from known leaves."""

from collections.abc import Callable
from dataclasses import dataclass

from farthing.core.usage import Usage


@dataclass(frozen=True)
class Vendor:
    """A vendor's way.

    Attributes:
        leaves: those that it can tell.
        plain: a whole answer.
        stream: the events of a streamed one, decoded.
    """

    leaves: tuple[str, ...]
    plain: Callable[[Usage], dict]
    stream: Callable[[Usage], list[dict]]


def chunk(text="x", finish=None, **fields):
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "choices": [choice], **fields}


def chat_usage(u):
    return {
        "prompt_tokens": u.input_tokens,
        "completion_tokens": u.output_tokens,
        "total_tokens": u.input_tokens + u.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": u.cache_read,
            "cache_write_tokens": u.cache_write,
            "audio_tokens": u.input_audio,
            "image_tokens": u.input_image,
        },
        "completion_tokens_details": {
            "reasoning_tokens": u.reasoning,
            "audio_tokens": u.output_audio,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def chat_plain(u):
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
    return {"id": "c", "model": "gpt", "choices": [choice], "usage": chat_usage(u)}


def chat_stream(u):
    last = {"id": "c", "choices": [], "usage": chat_usage(u)}
    return [chunk(usage=None), chunk(finish="stop", usage=None), last]


def responses_usage(u):
    return {
        "input_tokens": u.input_tokens,
        "input_tokens_details": {"cached_tokens": u.cache_read},
        "output_tokens": u.output_tokens,
        "output_tokens_details": {"reasoning_tokens": u.reasoning},
        "total_tokens": u.input_tokens + u.output_tokens,
    }


def responses_plain(u):
    return {"id": "r", "object": "response", "model": "gpt", "usage": responses_usage(u)}


def responses_stream(u):
    begun = {"id": "r", "object": "response", "usage": None, "service_tier": "auto"}
    return [
        {"type": "response.created", "response": begun},
        {"type": "response.output_text.delta", "delta": "x"},
        {"type": "response.completed", "response": {**responses_plain(u), "service_tier": "flex"}},
    ]


def anthropic_usage(u):
    return {
        "input_tokens": u.input,
        "cache_read_input_tokens": u.cache_read,
        "cache_creation_input_tokens": u.cache_write + u.cache_write_1h,
        "cache_creation": {
            "ephemeral_5m_input_tokens": u.cache_write,
            "ephemeral_1h_input_tokens": u.cache_write_1h,
        },
        "output_tokens": u.output,
        "service_tier": "standard",
    }


def anthropic_plain(u):
    content = [{"type": "text", "text": "x"}]
    return {"id": "m", "type": "message", "content": content, "usage": anthropic_usage(u)}


def anthropic_stream(u):
    first = {**anthropic_plain(u), "usage": {**anthropic_usage(u), "output_tokens": 3}}
    return [
        {"type": "message_start", "message": first},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}},
        {"type": "message_delta", "delta": {}, "usage": {"output_tokens": u.output // 2}},
        {"type": "message_delta", "delta": {}, "usage": {"output_tokens": u.output}},
        {"type": "message_stop"},
    ]


def gemini_usage(u):
    """Thoughts are counted in the total alone."""
    return {
        "prompt_tokens": u.input_tokens,
        "completion_tokens": u.output,
        "total_tokens": u.input_tokens + u.output_tokens,
        "prompt_tokens_details": {"cached_tokens": u.cache_read},
    }


def gemini_plain(u):
    return {**chat_plain(u), "model": "gemini-2.5-flash", "usage": gemini_usage(u)}


def gemini_stream(u):
    """Usage comes with a piece of the answer, and grows."""
    begun = gemini_usage(Usage(input=u.input, cache_read=u.cache_read))
    return [
        chunk(model="gemini-2.5-flash", usage=begun),
        chunk(model="gemini-2.5-flash", finish="stop", usage=gemini_usage(u)),
    ]


def beside_usage(u):
    """Reasoning is told, and not part of the completion."""
    details = {"reasoning_tokens": u.reasoning}
    return {**gemini_usage(u), "completion_tokens_details": details}


def beside_plain(u):
    return {**chat_plain(u), "model": "grok", "usage": beside_usage(u)}


def beside_stream(u):
    return [chunk(finish="stop"), {"choices": [], "usage": beside_usage(u)}]


def vllm_usage(u):
    return {
        "prompt_tokens": u.input_tokens,
        "total_tokens": u.input_tokens + u.output,
        "completion_tokens": u.output,
        "prompt_tokens_details": {"cached_tokens": u.cache_read} if u.cache_read else None,
    }


def vllm_plain(u):
    return {**chat_plain(u), "usage": vllm_usage(u), "prompt_logprobs": None}


def vllm_stream(u):
    """With continuous_usage_stats: every chunk tells what there is so far."""
    begun = vllm_usage(Usage(input=u.input, cache_read=u.cache_read, output=u.output // 2))
    return [
        chunk("", usage=begun),
        chunk(finish="stop", usage=vllm_usage(u)),
        {"choices": [], "usage": vllm_usage(u)},
    ]


def timings(u):
    return {"cache_n": u.cache_read, "prompt_n": u.input, "predicted_n": u.output, "prompt_ms": 1.5}


def llama_plain(u):
    usage = {
        "prompt_tokens": u.input_tokens,
        "completion_tokens": u.output,
        "total_tokens": u.input_tokens + u.output,
    }
    return {**chat_plain(u), "usage": usage, "timings": timings(u)}


def llama_stream(u):
    """Not asked for usage, it tells its timings with the last chunk."""
    return [chunk(), chunk("", "stop", timings=timings(u))]


TEXT = ("input", "cache_read", "output")
CHAT = (*TEXT, "cache_write", "reasoning", "input_audio", "output_audio", "input_image")
VENDORS = {
    "openai chat": Vendor(CHAT, chat_plain, chat_stream),
    "openai responses": Vendor((*TEXT, "reasoning"), responses_plain, responses_stream),
    "anthropic": Vendor(
        (*TEXT, "cache_write", "cache_write_1h"), anthropic_plain, anthropic_stream
    ),
    "gemini": Vendor((*TEXT, "reasoning"), gemini_plain, gemini_stream),
    "reasoning beside": Vendor((*TEXT, "reasoning"), beside_plain, beside_stream),
    "vllm": Vendor(TEXT, vllm_plain, vllm_stream),
    "llama.cpp": Vendor(TEXT, llama_plain, llama_stream),
}
