"""What a model is asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    Attributes:
        role: "system", "user", "assistant", "tool", ...
        content: text, or a list of content parts (JSON) as on the wire, or None.
        fields: the message's other fields as on the wire (name, tool_calls, ...).
    """

    role: str
    content: str | Sequence[Mapping[str, Any]] | None
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The text of the content; parts that are not text are left out."""
        if self.content is None:
            return ""
        if isinstance(self.content, str):
            return self.content
        return "".join(str(part.get("text", "")) for part in self.content)

    @property
    def has_more_than_text(self) -> bool:
        """Whether any part of the content is not text, such as an image or a file."""
        parts = () if self.content is None or isinstance(self.content, str) else self.content
        return any(part.get("type", "text") != "text" for part in parts)


@dataclass(frozen=True, slots=True)
class Request:
    """A chat request, independent of any vendor's wire format.

    Attributes:
        messages: the conversation, oldest first.
        n: how many samples are wanted of one prompt.
        temperature, max_tokens, seed: None where the client set none.
        logprobs: whether token log-probabilities are wanted.
        extra: the request's other fields as on the wire, passed on untouched.
        question: identifier of what is asked, equal for equal questions; empty means that
            it is derived from the messages (see `question_id`).
        session: identifier of the conversation, as the client names it; empty if it does not.
        raw: the client's own bytes, where they may be passed on as they are.
        api: the format of these bytes: "chat", "completions", "embeddings", "responses" (OpenAI's)
            or "messages" (Anthropic's). All other fields are chat's, whatever the client spoke.
        headers: the client's headers that belong to these bytes.
    """

    messages: tuple[Message, ...]
    n: int = 1
    temperature: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    logprobs: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    question: str = ""
    raw: bytes | None = None
    api: str = "chat"
    headers: Mapping[str, str] = field(default_factory=dict)
    session: str = ""

    @classmethod
    def ask(cls, text: str, **settings: Any) -> Request:
        """A request with one user message."""
        return cls((Message("user", text),), **settings)

    @property
    def prompt(self) -> str:
        """The last user message's text."""
        for message in reversed(self.messages):
            if message.role == "user":
                return message.text
        return self.messages[-1].text if self.messages else ""

    @property
    def wants_json(self) -> bool:
        """Whether the answer is to be JSON, whatever its schema."""
        wanted = self.extra.get("response_format")
        kind = wanted.get("type") if isinstance(wanted, Mapping) else None
        return kind in ("json_object", "json_schema")

    def question_id(self) -> str:
        """`question`, or else 16 hexadecimal digits of the digest of the messages."""
        if self.question:
            return self.question
        canonical = json.dumps(
            [[m.role, m.content, dict(m.fields)] for m in self.messages],
            sort_keys=True,
            ensure_ascii=False,
            separators=(",", ":"),
        )
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def opening_id(self) -> str:
        """16 hexadecimal digits of the digest of the conversation's opening.

        The opening reaches to the first user message: what stays the same in all later turns.
        """
        digest = hashlib.blake2b(digest_size=8)
        for message in self.messages:
            text = message.content
            if not isinstance(text, str):
                text = json.dumps(text, sort_keys=True, default=str)
            content = text.encode("utf-8", "surrogatepass")
            digest.update(f"{message.role} {len(content)} ".encode("utf-8", "surrogatepass"))
            digest.update(content)
            if message.role == "user":
                break
        return digest.hexdigest()
