"""C3PO's ladder: decided at once as it is answered, and within its budgets."""

from __future__ import annotations

import numpy as np
import pytest
import recordings
from policies.test_learnt import answers, codes

from farthing.models.draw import draw
from farthing.plan.c3po import C3po
from farthing.policies.decisions import PRICES, rightness


@pytest.mark.parametrize("samples", [1, 3])
async def test_decides_as_it_answers(samples):
    drawn = draw(recordings.recording(160, 3, samples), ["m0", "m1", "m2"], samples)
    learn, other = drawn.select(np.arange(100)), drawn.select(np.arange(100, 160))
    ladder = C3po.fit(learn, rightness(learn))
    assert len(ladder) == len(PRICES)
    for place in (0, 6, 10, 15):
        fast, slow = ladder[place].decide(other), await answers(ladder[place], other)
        assert fast.cost.tolist() == slow.cost.tolist()
        assert fast.model.tolist() == slow.model.tolist()
        assert fast.calls.tolist() == slow.calls.tolist()
        assert codes(other, fast) == codes(other, slow)
        again = C3po.from_params(ladder[place].get_params())
        assert again == ladder[place]


def test_the_dearest_place_is_the_strongest_model():
    made = recordings.recording(160, 6, 1)
    drawn = draw(made, [f"m{i}" for i in range(6)], 1)
    ladder = C3po.fit(drawn, rightness(drawn))
    assert ladder[0].asks[-1] != "m5"
    assert ladder[-1].asks[-1] == "m5"
    assert max(len(policy.asks) for policy in ladder) <= 3
