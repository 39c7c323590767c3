"""Counts against a transformer in loops, which multiplies and adds for real."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from architecture_known import SMALL
from brute_force import Brute
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.errors import DataError
from farthing.cost.architecture import count, peak, read
from farthing.cost.architecture.counting import pairs
from farthing.cost.architecture.shapes import Attention

NAMES = ("llama", "mistral with a window", "mixtral", "deepseek_v3")
LLAMA_MHA = SMALL["llama"] | {"num_key_value_heads": 4}
LLAMA_MQA = SMALL["llama"] | {"num_key_value_heads": 1}
WIDE = SMALL["llama"] | {"head_dim": 12}
CONFIGS = [*(SMALL[name] for name in NAMES), LLAMA_MHA, LLAMA_MQA, WIDE]
IDS = [*NAMES, "llama MHA", "llama MQA", "llama, wide heads"]


def kept(config: dict[str, Any], brute: Brute) -> int:
    """Numbers in the cache, of the tokens that a window does not hide for good."""
    window = config.get("sliding_window")
    rows = [row for layer in brute.cache for row in (layer if window is None else layer[-window:])]
    return sum(part.size for row in rows for part in row)


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
@pytest.mark.parametrize(("new", "past"), [(1, 0), (9, 0), (1, 8), (4, 3), (2, 7)])
def test_flops_and_bytes_are_those_of_a_pass_in_loops(
    config: dict[str, Any], new: int, past: int
) -> None:
    model = read(config | {"torch_dtype": "float32"})
    brute = Brute(config, absorbed=new == 1)
    tokens = list(range(past + new))
    if past:
        brute.read(tokens[:past])
    brute.macs.clear()
    brute.kv_read = 0
    before = sum(part.size for layer in brute.cache for row in layer for part in row)
    brute.read(tokens[past:])
    written = sum(part.size for layer in brute.cache for row in layer for part in row) - before
    work = count(model, new, past)
    parts = ("projections", "attention", "feed_forward", "head")
    assert [getattr(work, part) for part in parts] == [2 * brute.macs[part] for part in parts]
    assert work.flops == 2 * brute.macs.total()
    assert work.kv_read_bytes == 4 * brute.kv_read
    if config.get("sliding_window") is None:
        assert work.kv_written_bytes == 4 * written
    assert model.kv_bytes(past + new) == 4 * kept(config, brute)


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_weights_read_by_one_token_are_those_touched(config: dict[str, Any]) -> None:
    model = read(config | {"torch_dtype": "float32"})
    brute = Brute(config)
    brute.read([5])
    norms = sum(layer.others for layer in model.layers) + model.others
    read_bytes = 4 * (sum(brute.sizes[name] for name in brute.touched) + norms)
    assert count(model, 1).weight_bytes == read_bytes


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
@pytest.mark.parametrize(("new", "past"), [(1, 0), (6, 0), (40, 0), (1, 20), (5, 20)])
def test_peak_memory_is_that_of_a_pass_in_loops(
    config: dict[str, Any], new: int, past: int, narrow: bool
) -> None:
    """Where the feed-forward or the logits are the fullest, and where attention is."""
    if narrow:
        small = {"intermediate_size": 2, "moe_intermediate_size": 2, "num_experts_per_tok": 1}
        config = config | small | {"vocab_size": 3}
    brute = Brute(config, absorbed=new == 1)
    if past:
        brute.read([0] * past)
        brute.peak = 0
    brute.read([0] * new)
    found = peak(read(config | {"torch_dtype": "float32"}), new, past)
    assert found.activations == 4 * brute.peak
    assert found.total == found.weights + found.kv + found.activations


def test_absorbed_latent_attention_computes_the_same() -> None:
    config = SMALL["deepseek_v3"]
    expanded, absorbed = (Brute(config, absorbed=flag) for flag in (False, True))
    tokens = [3, 1, 4, 1, 5]
    assert np.allclose(expanded.read(tokens), absorbed.read(tokens))
    for flag, brute in ((False, expanded), (True, absorbed)):
        work = count(read(config), len(tokens), absorbed=flag)
        assert work.flops == 2 * brute.macs.total()


def test_a_prompt_at_once_is_as_token_by_token() -> None:
    for config in CONFIGS:
        whole, steps = Brute(config), Brute(config)
        logits = whole.read([7, 2, 9, 4])
        for token in (7, 2, 9):
            steps.read([token])
        assert np.allclose(logits, steps.read([4]))


@given(st.integers(1, 40), st.integers(0, 40), st.none() | st.integers(1, 30))
def test_pairs_are_counted_one_by_one(new: int, past: int, window: int | None) -> None:
    attention = Attention(1, 1, 1, 1, window)
    seen = [min(past + i + 1, window or 10**9) for i in range(new)]
    assert pairs(attention, new, past) == sum(seen)


@given(st.integers(1, 5), st.integers(1, 20), st.integers(0, 20))
def test_a_batch_multiplies_flops_and_cache_but_not_weights(
    batch: int, new: int, past: int
) -> None:
    model = read(SMALL["llama"])
    one, many = count(model, new, past), count(model, new, past, batch)
    assert many.flops == batch * one.flops
    assert many.kv_read_bytes == batch * one.kv_read_bytes
    embedded = model.plain.nbytes(1, model.width)
    assert many.weight_bytes == one.weight_bytes + (batch - 1) * new * embedded


def test_experts_touched_lie_between_one_tokens_and_all() -> None:
    model = read(SMALL["mixtral"])
    touched = [count(model, 1, 4, batch).weight_bytes for batch in (1, 2, 4, 8, 10_000)]
    assert touched == sorted(touched)
    rng = np.random.default_rng(0)
    drawn = [
        len({int(e) for _ in range(3) for e in rng.choice(4, 2, replace=False)})
        for _ in range(20_000)
    ]
    experts = next(m for m in model.layers[0].feed_forward if m.copies > 1)
    assert experts.touched(3) == pytest.approx(np.mean(drawn), abs=0.02)


@pytest.mark.parametrize(("new", "past", "batch"), [(0, 1, 1), (1, -1, 1), (1, 1, 0)])
def test_passes_that_cannot_be_are_refused(new: int, past: int, batch: int) -> None:
    with pytest.raises(DataError, match="cannot read"):
        count(read(SMALL["llama"]), new, past, batch)
