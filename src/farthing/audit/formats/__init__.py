"""The formats of logs that can be read, one module each."""

from __future__ import annotations

from farthing.audit.formats import (
    anthropic_usage,
    columns,
    generic,
    langfuse,
    litellm,
    openai_chat,
    openai_usage,
    recording,
)
from farthing.audit.formats.format import Format

FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        recording.FORMAT,
        openai_usage.FORMAT,
        anthropic_usage.FORMAT,
        litellm.FORMAT,
        langfuse.FORMAT,
        openai_chat.FORMAT,
        generic.FORMAT,
        columns.FORMAT,
    )
}
"""By name, the most particular first: a record that two would read is the former's."""

LEDGER = "ledger"
"""The format that is no text: a ledger of Farthing, see `farthing.audit.ledger_lines`."""
