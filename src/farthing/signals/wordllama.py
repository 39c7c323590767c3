"""Texts as means of their tokens' vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from farthing.core.errors import ExtraError
from farthing.models.recording import Floats
from farthing.signals.vectors import beginning_and_end, principal, single, unit

EMBEDDED = 64


@dataclass(frozen=True, eq=False)
class Wordllama:
    """The mean of the vectors of a text's tokens, brought to the dimensions that vary most.

    Source: the model of 256 dimensions in the package wordllama (Miller, 2024), with principal
    components (Hotelling, 1933). Needs the extra `embeddings`; nothing is downloaded.

    Attributes:
        mean: of the learning texts, shape (256,).
        components: shape (dimensions, 256).
    """

    kind: ClassVar[str] = "wordllama"

    mean: Floats
    components: Floats

    def __post_init__(self) -> None:
        _wordllama()  # told when a plan is loaded, not by the first request
        object.__setattr__(self, "mean", single(self.mean))
        object.__setattr__(self, "components", single(self.components))

    def encode(self, texts: Sequence[str]) -> Floats:
        """Vectors of unit length; ExtraError if the extra is missing."""
        vectors = (_embedded(texts) - self.mean) @ self.components.T.astype(float)
        return np.round(unit(vectors), 9)

    @classmethod
    def fit(cls, texts: Sequence[str], *, seed: int = 0) -> Wordllama:
        """Learn from `texts` which dimensions vary; ExtraError if the extra is missing."""
        vectors = _embedded(texts)
        mean = single(vectors.mean(axis=0))
        return cls(mean, principal(vectors - mean, EMBEDDED, seed))

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return {"mean": self.mean, "components": self.components}


def _embedded(texts: Sequence[str]) -> Floats:
    """The mean of each text's tokens, of unit length, shape (texts, 256)."""
    tokenizer, table = _wordllama()
    vectors = np.zeros((len(texts), table.shape[1]))
    for row, text in enumerate(texts):
        known = beginning_and_end(text).encode("utf-8", "replace").decode()
        tokens = tokenizer.encode(known, add_special_tokens=False).ids
        if tokens:
            vectors[row] = table[tokens].mean(axis=0, dtype=float)
    return unit(vectors)


@cache
def _wordllama() -> tuple[Any, Any]:
    """The tokenizer and the table of vectors in the package wordllama.

    Its files are read here, since its own loader looks for the tokenizer where it is not, and
    then downloads it; and since importing it sets the program's logging up.
    """
    package = find_spec("wordllama")
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ExtraError("tokenizers", "embeddings") from error
    if package is None or not package.submodule_search_locations:
        raise ExtraError("wordllama", "embeddings")
    from safetensors.numpy import load_file

    folder = Path(package.submodule_search_locations[0])
    tokenizer = Tokenizer.from_file(
        str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json")
    )
    tokenizer.no_padding()
    tokenizer.no_truncation()
    weights = load_file(str(folder / "weights" / "l2_supercat_256.safetensors"))
    return tokenizer, weights["embedding.weight"].astype(np.float32)
