"""Farthing measures, bounds and cuts what model inference costs.

Ask the models and plans of a configuration, without a server:

    with farthing.Client("farthing.toml") as client:
        answer = client.chat.completions.create(model="large", messages=[...])
        print(answer.choices[0].message.content, answer.farthing.cost)

From a recording to a plan:

    import farthing

    recording = farthing.load_recording("recording.parquet")
    promise = farthing.Promise(farthing.Cost.from_usd("0.002"), alpha=0.1)
    plan = farthing.make_plan(recording, ["small", "mid", "large"], promise)
    farthing.save_plan(plan, "plan.toml")
    print(farthing.replay_plan(plan, recording).result.cost_usd_mean)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from farthing.core.errors import FarthingError
from farthing.core.money import Cost, Rates
from farthing.core.request import Message, Request
from farthing.core.response import Response, Sample
from farthing.core.usage import Usage

if TYPE_CHECKING:
    from farthing.client.asynchronous import AsyncClient
    from farthing.client.synchronous import Client
    from farthing.models.recording import Recording, load_recording
    from farthing.plan.calibrate import Promise
    from farthing.plan.file import Certificate, Plan, load_plan, save_plan
    from farthing.plan.make import make_plan
    from farthing.plan.replay import Replay, replay_plan

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "Certificate",
    "Client",
    "Cost",
    "FarthingError",
    "Message",
    "Plan",
    "Promise",
    "Rates",
    "Recording",
    "Replay",
    "Request",
    "Response",
    "Sample",
    "Usage",
    "__version__",
    "load_plan",
    "load_recording",
    "make_plan",
    "replay_plan",
    "save_plan",
]

_LAZY = {
    "AsyncClient": "farthing.client.asynchronous",
    "Certificate": "farthing.plan.file",
    "Client": "farthing.client.synchronous",
    "Plan": "farthing.plan.file",
    "Promise": "farthing.plan.calibrate",
    "Recording": "farthing.models.recording",
    "Replay": "farthing.plan.replay",
    "load_plan": "farthing.plan.file",
    "load_recording": "farthing.models.recording",
    "make_plan": "farthing.plan.make",
    "replay_plan": "farthing.plan.replay",
    "save_plan": "farthing.plan.file",
}


def __getattr__(name: str) -> Any:
    """What needs numpy and pyarrow is imported when it is first asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module 'farthing' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
