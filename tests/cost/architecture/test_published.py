"""Counts of published models against what is published of them."""

from __future__ import annotations

import pytest
from architecture_known import DEEPSEEK_V3, LLAMA_8B, PUBLISHED

from farthing.cost.architecture import count, peak, read

GPT_OSS = {
    "model_type": "gpt_oss",
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "num_hidden_layers": 24,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "num_local_experts": 32,
    "num_experts_per_tok": 4,
    "sliding_window": 128,
    "vocab_size": 201088,
    "tie_word_embeddings": False,
    "quantization_config": {
        "quant_method": "mxfp4",
        "modules_to_not_convert": [
            "model.layers.*.self_attn",
            "model.layers.*.mlp.router",
            "model.embed_tokens",
            "lm_head",
        ],
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_cache_are_as_published(name: str) -> None:
    published = PUBLISHED[name]
    model = read(published.config)
    assert model.parameters == pytest.approx(published.parameters, rel=0.01)
    if published.parameters == int(published.parameters) and published.parameters % 1e6:
        assert model.parameters == published.parameters
    if published.kv_bytes_per_token is not None:
        assert model.kv_bytes_per_token == published.kv_bytes_per_token


@pytest.mark.parametrize(
    ("name", "announced", "within"),
    [
        ("Mixtral-8x7B", 12.9e9, 0.01),
        ("Qwen3-235B-A22B", 22e9, 0.01),
        ("Qwen3-30B-A3B", 3.3e9, 0.02),
        ("DeepSeek-V3", 37e9, 0.02),
    ],
)
def test_active_parameters_are_as_announced(name: str, announced: float, within: float) -> None:
    """Announced figures have two digits; 37B and 36.7B are both told of DeepSeek-V3."""
    assert read(PUBLISHED[name].config).active_parameters == pytest.approx(announced, rel=within)


def test_flops_are_nearly_two_for_each_active_parameter() -> None:
    """Embedding aside: what is beyond it is attention, which grows with the context."""
    for published in PUBLISHED.values():
        model = read(published.config)
        step = count(model, 1, 0)
        used = model.active_parameters - (0 if model.tied else model.embedded)
        assert step.flops == pytest.approx(2 * used, rel=0.01)
        assert count(model, 1, 4095).flops > step.flops


def test_attention_of_a_long_prompt_is_quadratic() -> None:
    model = read(LLAMA_8B)
    at = {n: count(model, n).attention for n in (1, 1000, 2000)}
    assert at[1] == 2 * 32 * 32 * 256
    assert at[2000] / at[1000] == pytest.approx(4, rel=0.002)


def test_fp8_in_blocks_is_a_byte_a_weight_and_a_scale_a_block() -> None:
    model = read(DEEPSEEK_V3)
    plain = read({k: v for k, v in DEEPSEEK_V3.items() if k != "quantization_config"})
    assert plain.weight_bytes == 2 * plain.parameters
    low = sum(m.copies * m.inputs * m.outputs for m in model.matrices() if m.name != "mlp.gate")
    saved = plain.weight_bytes - model.weight_bytes
    assert saved == pytest.approx(low * (1 - 4 / 128**2), rel=1e-3)
    assert model.compute == "fp8"
    assert model.kv_bits == 16


def test_gpt_oss_is_4_25_bits_an_expert_weight() -> None:
    model = read(GPT_OSS)
    assert model.parameters == pytest.approx(20.9e9, rel=0.01)
    assert model.active_parameters - model.embedded == pytest.approx(3.6e9, rel=0.01)
    experts = [m for m in model.matrices() if m.copies > 1]
    assert {m.format.name for m in experts} == {"mxfp4"}
    assert all(m.format.bits == 16 for m in model.matrices() if m.copies == 1)
    assert experts[0].format.nbytes(2880, 2880) == 2880 * 2880 * 17 // 32
    windows = {layer.attention.window for layer in model.layers}
    assert windows == {128, None}
    assert model.kv_bytes(10_000) < 10_000 * model.kv_bytes_per_token * 0.51


def test_low_bits_shrink_weights_and_cache() -> None:
    four = read(LLAMA_8B, weights="int4", kv_bits=8)
    assert four.kv_bytes_per_token == 131_072 // 2
    layers = 6_979_321_856
    assert sum(m.each for m in four.matrices()) == layers
    kept = (8_030_261_248 - layers) * 2
    assert four.weight_bytes == kept + layers // 2 + layers // 128 * 20 // 8
    held = peak(four, 1, 4095, 8)
    assert held.kv == 8 * 4096 * 65_536
    assert held.weights == four.weight_bytes
