"""Reading config.json: formats, and mistakes told with file and key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from architecture_known import LLAMA_8B, SMALL

from farthing.core.errors import ConfigError
from farthing.cost.architecture import FORMATS, load, read
from farthing.models.tiny import TINY_SIZES
from farthing.models.tiny.model import WEIGHTS
from farthing.models.tiny.model import load as load_tiny

GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128}


def test_the_tiny_models_own_counts_agree() -> None:
    from farthing.cost.architecture import count

    for size in TINY_SIZES:
        counted, own = load(WEIGHTS / size), load_tiny(size)
        assert counted.parameters == own.shape.parameters
        assert count(counted, 1, 15).flops == own.flops_per_token(16)


def test_a_folder_is_its_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_8B))
    assert load(tmp_path) == load(tmp_path / "config.json")
    assert load(tmp_path).name == tmp_path.name


def test_text_of_a_model_that_also_sees() -> None:
    whole = {"model_type": "gemma3", "text_config": SMALL["gemma3"], "vision_config": {}}
    model = read(whole)
    assert model.parameters == read(SMALL["gemma3"]).parameters
    assert "text_config" in model.notes[0]


@pytest.mark.parametrize(
    ("stated", "bits"),
    [
        (GPTQ, 4 + 20 / 128 + 32 / 4096),
        ({"quant_method": "awq", "bits": 4, "group_size": 64}, 4 + 20 / 64),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, 8 + 32 / 128**2),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, 4 + 32 / 64),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, 8 + 32 / 4096),
    ],
)
def test_quantised_weights(stated: dict[str, Any], bits: float) -> None:
    model = read(LLAMA_8B | {"quantization_config": stated})
    query = model.layers[0].projections[0]
    assert query.each_bytes * 8 / query.each == pytest.approx(bits)
    assert model.head.format is FORMATS["bfloat16"]


def test_modules_left_out_stay_as_they_are() -> None:
    stated = {
        "quant_method": "fp8",
        "modules_to_not_convert": ["model.layers.1.mlp.down_proj", "self_attn.o_proj"],
    }
    model = read(SMALL["llama"] | {"quantization_config": stated})
    plain = {
        (index, m.name)
        for index, layer in enumerate(model.layers)
        for m in (*layer.projections, *layer.feed_forward)
        if m.format.bits == 16
    }
    assert plain == {(i, "self_attn.o_proj") for i in range(3)} | {(1, "mlp.down_proj")}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model_type": "mamba"}, "model_type: models of type 'mamba' are not known"),
        ({"model_type": None}, "model_type: is missing"),
        ({"hidden_size": None}, "hidden_size or n_embd: is missing"),
        ({"hidden_size": 30}, "hidden_size: 30 is no multiple of 4 heads"),
        ({"num_hidden_layers": 2.5}, "num_hidden_layers: want a whole number above zero, not 2.5"),
        ({"num_key_value_heads": 3}, "num_key_value_heads: 4 heads are no multiple of 3"),
        ({"torch_dtype": "int7"}, "dtype: no dtype 'int7'"),
        ({"quantization_config": {"quant_method": "x"}}, "quantization_config.quant_method: "),
    ],
)
def test_mistakes_name_file_and_key(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(SMALL["llama"] | change, path="a/config.json")
    assert f"a/config.json: {told}" in str(caught.value)


def test_too_many_experts_are_refused() -> None:
    with pytest.raises(ConfigError, match="9 of 4 experts"):
        read(SMALL["mixtral"] | {"num_experts_per_tok": 9})


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.json")
    broken = tmp_path / "broken.json"
    broken.write_text('{"a": 1,\n"b" 2}')
    with pytest.raises(ConfigError, match=r"broken\.json:2: no JSON"):
        load(broken)
    broken.write_text("[]")
    with pytest.raises(ConfigError, match="no JSON object"):
        load(broken)
    with pytest.raises(ConfigError, match="no format 'int3'"):
        read(LLAMA_8B, weights="int3")
