"""A cascade that goes by how likely each token of an answer was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from farthing.core.errors import DataError
from farthing.models.draw import Draw
from farthing.models.recording import Floats
from farthing.policies.frugal import learned_ladder
from farthing.policies.scored import ScoredCascade
from farthing.signals.learned import TOKENS


@dataclass(frozen=True)
class Tokens(ScoredCascade):
    """Accepts an answer by a classifier of its tokens' log-probabilities.

    Mean, minimum and quantiles over the tokens, and their number, are the features: of a long
    answer the mean hides the one unlikely token that makes it wrong, and the sum tells its length.

    Source: Language Model Cascades: Token-level uncertainty and beyond (Gupta et al., 2024), the
    post-hoc rule on quantiles; neither embeddings nor states of the models are looked at.
    """

    kind: ClassVar[str] = "tokens"

    @classmethod
    def fit(
        cls,
        draw: Draw,
        right: Sequence[Floats],
        *,
        seed: int = 0,
        classifier: str = "logistic",
    ) -> list[Self]:
        """The ladder (see `policies.decisions.Learnt`); `classifier` is "logistic" or "trees".

        DataError where the recording has no log-probabilities, ExtraError if scikit-learn is
        missing.
        """
        table = draw.recording.table
        known = [name for name in TOKENS if name in table.column_names]
        cheap = range(max(1, len(draw.models) - 1))
        if not any(np.isfinite(draw.column(name, m)).any() for name in known for m in cheap):
            raise DataError(
                f"{draw.recording.path}: no log-probabilities of tokens; a policy of kind "
                f"'tokens' learns from columns such as {TOKENS[0]} and {TOKENS[2]}"
            )
        return learned_ladder(cls, draw, right, ("tokens",), classifier=classifier, seed=seed)
