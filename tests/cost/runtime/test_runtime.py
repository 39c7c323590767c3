"""Times on a roofline, long contexts, prices of own hardware, energy to tokens."""

from __future__ import annotations

import math

import msgspec
import pytest
from architecture_known import LLAMA_8B, SMALL
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.errors import DataError
from farthing.core.money import Cost
from farthing.cost.architecture import count, peak, read
from farthing.cost.devices import find
from farthing.cost.runtime import Server, long_context, own_price, supply
from farthing.cost.runtime.longcontext import users

H100 = find("h100-sxm")
FULL = msgspec.structs.replace(H100, compute_share=1.0, bandwidth_share=1.0)
SERVER = Server(read(LLAMA_8B), FULL)


def test_prefill_is_bound_by_compute_and_decode_by_bandwidth() -> None:
    prefill, decode = SERVER.prefill(4096), SERVER.decode(4096)
    assert prefill.binds == "compute"
    assert prefill.seconds == count(SERVER.model, 4096).flops / 989.4e12
    assert decode.binds == "bandwidth"
    assert decode.seconds == count(SERVER.model, 1, 4095).nbytes / 3.35e12
    assert decode.seconds == pytest.approx(16.06e9 / 3.35e12, rel=0.05)


def test_a_large_batch_of_short_contexts_is_bound_by_compute() -> None:
    ridge = 989.4e12 / 3.35e12
    assert SERVER.decode(1, int(ridge * 0.8)).binds == "bandwidth"
    assert SERVER.decode(1, int(ridge * 1.5)).binds == "compute"


def test_what_does_not_fit_is_bound_by_memory() -> None:
    seventy = LLAMA_8B | {"hidden_size": 8192, "num_hidden_layers": 80, "intermediate_size": 28672}
    seventy |= {"num_attention_heads": 64}
    assert Server(read(seventy), FULL).decode(100).binds == "memory"
    assert Server(read(seventy), FULL, 2).decode(100).binds == "bandwidth"
    assert users(Server(read(seventy), FULL), 100) == 0


@given(st.integers(1, 200), st.integers(1, 120), st.integers(1, 8))
def test_decoding_is_the_sum_of_its_steps(input: int, output: int, batch: int) -> None:
    server = Server(read(SMALL["llama"]), FULL, overhead_s=1e-6)
    steps = [server.decode(n, batch).seconds for n in range(input + 1, input + output)]
    assert server.decoding(input, output, batch) == pytest.approx(math.fsum(steps), rel=1e-3)


def test_shares_and_devices_scale_rates() -> None:
    half = Server(read(LLAMA_8B), msgspec.structs.replace(FULL, bandwidth_share=0.5))
    assert half.decode(100).seconds == 2 * SERVER.decode(100).seconds
    two = Server(read(LLAMA_8B), FULL, 2)
    assert two.decode(100).seconds == SERVER.decode(100).seconds / 2
    assert Server(read(LLAMA_8B), FULL, overhead_s=1.0).decode(100).seconds > 1
    with pytest.raises(DataError):
        Server(read(LLAMA_8B), FULL, 0)


def test_users_are_as_many_as_fit() -> None:
    found = long_context(SERVER, 50_000, 500)
    held = peak(SERVER.model, 1, 50_499, found.users)
    assert held.total <= SERVER.memory < peak(SERVER.model, 1, 50_499, found.users + 1).total
    assert found.kv_bytes == 50_500 * 131_072
    assert found.switch_s == 2 * found.kv_bytes / 64e9
    assert long_context(Server(read(LLAMA_8B), find("tpu-v5e")), 10, 1).switch_s is None


def test_the_published_example_of_long_context() -> None:
    """Fu (2024): a 34B model with 8 heads of keys at 50K tokens holds about 11 GB of cache."""
    yi = LLAMA_8B | {
        "hidden_size": 7168,
        "intermediate_size": 20480,
        "num_hidden_layers": 60,
        "num_attention_heads": 56,
        "vocab_size": 64000,
    }
    found = long_context(Server(read(yi), find("a100-80")), 50_000, 1)
    assert found.kv_bytes == pytest.approx(12.3e9, rel=0.01)
    assert found.users == 0 or found.users == 1


def test_tokens_cost_what_the_hours_cost_that_they_take() -> None:
    price = own_price(SERVER, 1000, 101, 4, hour=Cost.from_usd("3.6"))
    assert price is not None
    assert price.output is not None
    second = 1e9  # picodollars: 3.6 USD an hour are 0.001 USD a second
    reading, writing = SERVER.prefill(1000).seconds, SERVER.decoding(1000, 101, 4)
    assert price.input.pico == pytest.approx(second * reading / 1000 * 1e6)
    assert price.output.pico == pytest.approx(second * writing / 4 / 100 * 1e6)
    assert price.request.pico == pytest.approx(second * (reading + writing / 4), abs=1)
    half = own_price(SERVER, 1000, 101, 4, hour=Cost.from_usd("3.6"), utilisation=0.5)
    assert half is not None
    assert half.request.pico == pytest.approx(2 * price.request.pico, abs=2)


def test_without_a_price_of_the_hour_tokens_have_none() -> None:
    assert own_price(Server(read(LLAMA_8B), find("m3-max")), 10, 10, 1) is None
    with pytest.raises(DataError, match="cannot price"):
        own_price(SERVER, 10, 10, 0)
    with pytest.raises(DataError, match="cannot cost -3 USD"):
        own_price(SERVER, 10, 10, 1, hour=Cost.from_usd("-3"))


def test_an_answer_of_one_token_has_no_price_of_further_ones() -> None:
    price = own_price(SERVER, 10, 1, 1)
    assert price is not None
    assert price.output is None
    assert price.request.pico > 0


def test_what_binds_tokens_switches_with_the_power() -> None:
    told = {"flops_per_s": 1e15, "flops_per_token": 1e10, "joules_per_token": 0.01, "pue": 1.25}
    assert supply(**told, utilisation=0.5).tokens_per_s == 50_000
    rich = supply(**told, utilisation=0.5, facility_watts=1000)
    assert (rich.binds, rich.tokens_per_s) == ("compute", 50_000)
    poor = supply(**told, utilisation=0.5, facility_watts=500)
    assert poor.binds == "energy"
    assert poor.tokens_per_s == pytest.approx(500 / 0.0125)
    assert poor.joules_per_token == pytest.approx(0.0125)


def test_unknown_joules_stay_unknown() -> None:
    found = supply(flops_per_s=1e15, flops_per_token=1e10, facility_watts=10.0)
    assert (found.energy_ceiling, found.joules_per_token) == (None, None)
    assert found.binds == "compute, energy unknown"


@pytest.mark.parametrize(
    "change", [{"flops_per_s": 0}, {"utilisation": 1.1}, {"pue": 0.9}, {"joules_per_token": -1}]
)
def test_supplies_that_cannot_be(change: dict[str, float]) -> None:
    with pytest.raises(DataError):
        supply(**({"flops_per_s": 1.0, "flops_per_token": 1.0} | change))
