"""What the gateway answers, as a page in OpenAPI 3.1.

Its schemas are as wide as the gateway: fields that it does not know go on to the upstream.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import farthing
from farthing.gateway.counting import COUNT_TOKENS
from farthing.gateway.endpoint import Endpoint
from farthing.gateway.endpoints import ENDPOINTS
from farthing.gateway.messages import MESSAGES
from farthing.gateway.visits import BYPASS

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_LABEL: Schema = {"type": "string", "maxLength": 256, "pattern": "^[ -~]*$"}
_TAGS: Schema = {"type": "string", "pattern": "^([!-+.-<>-~]+=[!-+.-<>-~]+(,|$))*$"}
_EVENT: Schema = {
    "description": "an event of the stream",
    "type": "object",
    "properties": {"event": _TEXT, "data": _TEXT},
}
_TEXT_OR_LIST: Schema = {"type": ["string", "array"]}
_FLAG: Schema = {"type": ["boolean", "null"]}
_OBJECT: Schema = {"type": ["object", "null"]}
_OBJECTS: Schema = {"type": ["array", "null"], "items": {"type": "object"}}
_TOKENS: Schema = {"type": ["integer", "null"], "minimum": 1}
_TEMPERATURE: Schema = {"type": ["number", "null"], "minimum": 0}
_N: Schema = {"type": ["integer", "null"], "minimum": 1, "maximum": 128}
_WHOLE: Schema = {"type": ["integer", "null"]}
_PROMPTS: Schema = {
    "anyOf": [_TEXT, {"type": "array", "minItems": 1, "items": _TEXT}],
    "description": "a text or several; tokens go too",
}
_MESSAGES: Schema = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["role"],
        "properties": {
            "role": {"type": "string", "minLength": 1},
            "content": {"type": ["string", "array", "null"], "items": {"type": "object"}},
        },
    },
}
_TURNS: Schema = {
    **_MESSAGES,
    "items": {
        "type": "object",
        "required": ["role", "content"],
        "properties": {
            "role": {"enum": ["user", "assistant"]},
            "content": {"type": ["string", "array"], "items": {"type": "object"}},
        },
    },
}
_STREAMED: Schema = {"stream": _FLAG, "stream_options": _OBJECT}
_FIELDS: dict[str, Schema] = {
    "chat": {
        "messages": _MESSAGES,
        "max_tokens": _TOKENS,
        "max_completion_tokens": _TOKENS,
        "temperature": _TEMPERATURE,
        "n": _N,
        "seed": _WHOLE,
        "logprobs": _FLAG,
        "tools": _OBJECTS,
        "response_format": _OBJECT,
        **_STREAMED,
    },
    "completions": {
        "prompt": _PROMPTS,
        "max_tokens": {"type": ["integer", "null"], "minimum": 0},
        "n": _N,
        "best_of": _N,
        "seed": _WHOLE,
        **_STREAMED,
    },
    "embeddings": {"input": _PROMPTS},
    "responses": {
        "input": {**_TEXT_OR_LIST, "minItems": 1, "items": {"type": "object"}},
        "instructions": {"type": ["string", "null"]},
        "max_output_tokens": _TOKENS,
        "temperature": _TEMPERATURE,
        "tools": _OBJECTS,
        "text": _OBJECT,
        "reasoning": _OBJECT,
        **_STREAMED,
    },
    "messages": {
        "messages": _TURNS,
        "max_tokens": {"type": "integer", "minimum": 1},
        "system": {**_TEXT_OR_LIST, "items": {"type": "object"}},
        "temperature": _TEMPERATURE,
        "stop_sequences": {"type": ["array", "null"], "items": _TEXT},
        "tools": _OBJECTS,
        "stream": _FLAG,
    },
    "count_tokens": {"messages": _TURNS, "system": {**_TEXT_OR_LIST, "items": {"type": "object"}}},
}
_REQUIRED = {
    "chat": ("messages",),
    "completions": ("prompt",),
    "embeddings": ("input",),
    "responses": ("input",),
    "messages": ("messages", "max_tokens"),
    "count_tokens": ("messages",),
}
_ANSWERS = {
    "chat": {"choices": {"type": "array"}},
    "completions": {"choices": {"type": "array"}},
    "embeddings": {"data": {"type": "array"}},
    "responses": {"output": {"type": "array"}},
    "messages": {"content": {"type": "array"}},
    "count_tokens": {"input_tokens": {"type": "integer"}},
}
_SUMMARIES = {
    "chat": "OpenAI's chat completions, of a model or a plan",
    "completions": "OpenAI's completions, of a model whose upstream has them",
    "embeddings": "OpenAI's embeddings, of a model whose upstream has them",
    "responses": "OpenAI's responses, of a model or a plan",
    "messages": "Anthropic's messages, of a model or a plan",
    "count_tokens": "The tokens of a message, as an upstream of Anthropic's shape counts them",
}
_FAILURES = {
    400: "the request is wrong; the error's `param` says where",
    401: "no token or key, or a wrong one",
    402: "a budget's cap on one request was reached before there was any answer",
    403: f"`{BYPASS}` without an admin's key",
    404: "no model or plan of that name",
    408: "the request did not come in time",
    409: "the upstream's own",
    413: "the body is larger than `max_body_mb`",
    422: "the upstream's own",
    429: "a budget or the upstream refuses",
    500: "a mistake of the gateway",
    502: "the upstream failed",
    503: "the ledger cannot be written, or there are too many connections",
    504: "the upstream, or the whole request, took too long",
}
_NOT_OF_COUNTING = (402,)
_OF_READING = (400, 401, 403, 404, 408, 500, 503)
_HEADERS = {
    "x-farthing-question": ("equal for equal questions", _LABEL),
    "x-farthing-session": ("names the conversation to sticky plans", _LABEL),
    "x-farthing-tags": ("labels, such as `team=search,env=prod`", _TAGS),
}
_TOLD = {
    "x-farthing-operation": "identifier in the ledger",
    "x-farthing-answered-by": "the model",
    "x-farthing-plan": "the plan, if one was called",
    "x-farthing-attempts": "calls it took; absent in streams",
    "x-farthing-cost-usd": "their cost, a decimal; absent if unknown, and in streams",
    "x-farthing-stopped": "`cap` if a cap ended the plan, `context` if a prompt had grown "
    "too long, `abstained` if it gave no answer",
    "x-farthing-budget-warning": "soft budgets that the request does not fit",
}


def page(names: Sequence[str] | None, *, is_open: bool) -> Schema:
    """The page.

    Args:
        names: the models and plans that the client may ask for; None leaves them out.
        is_open: whether the gateway asks for no token or key.
    """
    paths: Schema = {
        endpoint.path: {"post": _asking(endpoint, names)} for endpoint in (*ENDPOINTS, COUNT_TOKENS)
    }
    one = {**_parameter("path", "name", "of a model or plan", _name(names)), "required": True}
    paths |= {
        "/v1/models": {"get": _reading("Models and plans", _object("data", {"type": "array"}))},
        "/v1/models/{name}": {
            "get": {**_reading("A model or plan", _object("id", _TEXT)), "parameters": [one]}
        },
        "/metrics": {"get": _reading("Counts for Prometheus", _TEXT, "text/plain")},
        "/healthz": {"get": _health()},
        "/openapi.json": {"get": _public("This page", _object("openapi", _TEXT))},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Farthing's gateway", "version": farthing.__version__},
        "paths": paths,
        "security": [{}] if is_open else [{"bearer": []}, {"anthropic": []}],
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "anthropic": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
            "schemas": {
                "Error": _object("error", {"type": "object"}),
                "AnthropicError": {
                    "type": "object",
                    "required": ["type", "error"],
                    "properties": {
                        "type": {"const": "error"},
                        "error": {**_object("type", _TEXT), "required": ["type", "message"]},
                    },
                },
            },
        },
    }


def _asking(endpoint: Endpoint, names: Sequence[str] | None) -> Schema:
    """An endpoint that answers calls."""
    api, counts = endpoint.api, endpoint is COUNT_TOKENS
    fields = {"model": _name(names), **_FIELDS[api]}
    body = {
        "type": "object",
        "required": ["model", *_REQUIRED[api]],
        "properties": fields,
        "additionalProperties": True,
    }
    content: Schema = {"application/json": {"schema": _answer(api)}}
    if endpoint.streams:
        content["text/event-stream"] = {"schema": _EVENT}
    headers = {} if counts else _HEADERS
    parameters = [_parameter("header", name, *told) for name, told in headers.items()]
    parameters += [_parameter("header", name, "passed on", _LABEL) for name in endpoint.headers]
    bypass = "1 has plans answered by their strongest model"
    parameters.append(_parameter("header", BYPASS, bypass, {"enum": ["0", "1"]}))
    answer: Schema = {"description": "the answer", "content": content}
    if not counts:
        answer["headers"] = {
            name: {"description": text, "schema": _TEXT} for name, text in _TOLD.items()
        }
    failures = [code for code in _FAILURES if not (counts and code in _NOT_OF_COUNTING)]
    return {
        "operationId": api,
        "summary": _SUMMARIES[api],
        "parameters": parameters,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"200": answer, **_failures(failures, endpoint.error is MESSAGES.error)},
    }


def _answer(api: str) -> Schema:
    """A whole answer: what an upstream told, or what the gateway wrote."""
    told = {"usage": {"type": ["object", "null"]}, "farthing": {"type": "object"}}
    known = _ANSWERS[api]
    return {"type": "object", "required": [*known], "properties": {**known, **told}}


def _reading(summary: str, schema: Schema, kind: str = "application/json") -> Schema:
    """A page for those who may come in."""
    told = {"description": summary, "content": {kind: {"schema": schema}}}
    return {"summary": summary, "responses": {"200": told, **_failures(_OF_READING, False)}}


def _public(summary: str, schema: Schema) -> Schema:
    """A page for everybody."""
    told = {"description": summary, "content": {"application/json": {"schema": schema}}}
    failures = _failures((408, 500, 503), False)
    return {"summary": summary, "security": [{}], "responses": {"200": told, **failures}}


def _health() -> Schema:
    schema = _object("ledger", {"enum": ["ok", "spooling", "refusing"]})
    health = _public("Whether the gateway runs, and can book", schema)
    refusing = {"description": "the ledger refuses", "content": {"application/json": {}}}
    health["responses"]["503"] = refusing
    return health


def _failures(codes: Iterable[int], anthropic: bool) -> Schema:
    """How failures are told; before a request is read, in OpenAI's shape everywhere."""
    openai, own = ({"$ref": f"#/components/schemas/{n}"} for n in ("Error", "AnthropicError"))
    told: Schema = {}
    for code in codes:
        either = {"anyOf": [own, openai]} if code in (408, 503) else own
        schema = either if anthropic else openai
        content = {"application/json": {"schema": schema}}
        told[str(code)] = {"description": _FAILURES[code], "content": content}
    return told


def _name(names: Sequence[str] | None) -> Schema:
    """The name of a model or plan."""
    return {"type": "string", "minLength": 1} if not names else {"enum": [*names]}


def _parameter(place: str, name: str, description: str, schema: Schema) -> Schema:
    return {"name": name, "in": place, "description": description, "schema": schema}


def _object(name: str, schema: Schema) -> Schema:
    return {"type": "object", "required": [name], "properties": {name: schema}}
