"""Choose and certify: replay, the search of thresholds, the plan file."""

from farthing.plan.calibrate import Promise
from farthing.plan.file import Certificate, Plan, load, save
from farthing.plan.make import make_plan
from farthing.plan.replay import Replay, replay_plan

__all__ = ["Certificate", "Plan", "Promise", "Replay", "load", "make_plan", "replay_plan", "save"]
