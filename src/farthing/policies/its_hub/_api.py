"""its_hub's interfaces; ExtraError where the package is not installed."""

from farthing.core.errors import ExtraError

try:
    from its_hub.api import (
        AbstractLanguageModel,
        AbstractOrchestrator,
        AbstractOutcomeRewardModel,
        AbstractProcessRewardModel,
        AbstractScalingAlgorithm,
        AbstractScalingResult,
        ChatMessage,
        ChatMessages,
        GenerationUsage,
    )
    from its_hub.core.lms.step_generation import StepGeneration
except ImportError as error:
    raise ExtraError("its-hub", "its-hub") from error

__all__ = [
    "AbstractLanguageModel",
    "AbstractOrchestrator",
    "AbstractOutcomeRewardModel",
    "AbstractProcessRewardModel",
    "AbstractScalingAlgorithm",
    "AbstractScalingResult",
    "ChatMessage",
    "ChatMessages",
    "GenerationUsage",
    "StepGeneration",
]
