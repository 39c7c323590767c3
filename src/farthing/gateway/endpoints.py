"""The endpoints at which the gateway answers."""

from __future__ import annotations

from farthing.gateway.messages import MESSAGES
from farthing.gateway.plain import COMPLETIONS, EMBEDDINGS
from farthing.gateway.responses import RESPONSES
from farthing.gateway.wire import CHAT

ENDPOINTS = (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, MESSAGES)
