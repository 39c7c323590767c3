"""Choose and certify: replay, the search of thresholds, the plan file."""

from farthing.plan.calibrate import Promise
from farthing.plan.file import Certificate, Plan, load_plan, save_plan
from farthing.plan.make import make_plan
from farthing.plan.replay import Replay, replay_plan

__all__ = [
    "Certificate",
    "Plan",
    "Promise",
    "Replay",
    "load_plan",
    "make_plan",
    "replay_plan",
    "save_plan",
]
