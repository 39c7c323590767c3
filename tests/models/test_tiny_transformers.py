"""The shipped weights under Hugging Face's own Llama."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from farthing.models import tiny
from farthing.models.tiny.model import WEIGHTS

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.local


@pytest.fixture(params=tiny.TINY_SIZES)
def pair(request: pytest.FixtureRequest) -> tuple[tiny.TinyModel, Any]:
    size = request.param
    theirs = transformers.LlamaForCausalLM.from_pretrained(
        WEIGHTS / size, dtype=torch.float32, local_files_only=True
    )
    return tiny.load(size), theirs.eval()


@pytest.mark.parametrize("steps", [1, 3, 6])
def test_same_logits(pair: tuple[tiny.TinyModel, Any], steps: int) -> None:
    ours, theirs = pair
    rng = np.random.default_rng(steps)
    for _ in range(5):
        chain = tiny.problem(rng, steps)
        tokens = [*ours.encode(chain), *(3 + digit for digit in tiny.solve(chain))]
        state = ours.start([])
        logits = ours.step(state, tokens)
        with torch.no_grad():
            expected = theirs(torch.tensor([tokens])).logits[0].numpy()
        np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_same_greedy_tokens(pair: tuple[tiny.TinyModel, Any]) -> None:
    ours, theirs = pair
    tokens = ours.encode("3+4*2-5")
    generated = theirs.generate(torch.tensor([tokens]), max_new_tokens=8, do_sample=False)[0]
    state = ours.start(tokens)
    mine = []
    while len(mine) < 8 and (not mine or mine[-1] != ours.eos):
        mine.append(int(state.logits.argmax()))
        ours.step(state, mine[-1:])
    assert mine == generated[len(tokens) :].tolist()


def test_same_parameter_count(pair: tuple[tiny.TinyModel, Any]) -> None:
    ours, theirs = pair
    assert ours.shape.parameters == sum(p.numel() for p in theirs.parameters())
