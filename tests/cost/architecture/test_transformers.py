"""Parameters and matrix products against transformers' own modules.

torch's FlopCounterMode is not the yardstick: it counts 0 for fused attention on a CPU.
"""

from __future__ import annotations

from typing import Any

import pytest
from architecture_known import SMALL

from farthing.cost.architecture import read

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.local


def built(config: dict[str, Any]) -> Any:
    """The model of a configuration, without numbers in it."""
    settings = {key: value for key, value in config.items() if key != "model_type"}
    made = transformers.AutoConfig.for_model(config["model_type"], **settings)
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(made)


@pytest.mark.parametrize("name", SMALL)
def test_parameters_are_those_of_the_modules(name: str) -> None:
    model = built(SMALL[name])
    held = sum(p.numel() for p in model.parameters())
    held += sum(b.numel() for n, b in model.named_buffers() if n.endswith("correction_bias"))
    assert read(SMALL[name]).parameters == held


@pytest.mark.parametrize("name", SMALL)
def test_windows_are_those_of_the_modules(name: str) -> None:
    made = built(SMALL[name]).config
    kinds = getattr(made, "layer_types", None)
    if not kinds:
        kinds = ["full_attention" if getattr(made, "sliding_window", None) is None else "sliding"]
        kinds *= made.num_hidden_layers
    windows = [layer.attention.window for layer in read(SMALL[name]).layers]
    assert [window is None for window in windows] == [kind == "full_attention" for kind in kinds]
