"""The tiny models: what the shipped weights do, and what the engine and the sampler promise."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy import stats

from farthing.core.errors import ConfigError, RequestError
from farthing.core.protocols import LocalModel, Model
from farthing.core.request import Message, Request
from farthing.models import tiny
from farthing.models.tiny.model import PRICED_CONTEXT, WEIGHTS

CHAIN = "3+4*2-5"
FRESH = 1_500
NEIGHBOURS = list(itertools.pairwise(tiny.TINY_SIZES))


@dataclass
class Outcome:
    right: NDArray[np.bool_]
    confidence: NDArray[np.float64]


@pytest.fixture(scope="module", params=tiny.TINY_SIZES)
def model(request: pytest.FixtureRequest) -> tiny.TinyModel:
    return tiny.load(request.param)


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """Every size on the same fresh problems, greedily."""
    rng = np.random.default_rng(7)
    lengths = range(1, tiny.MAX_STEPS + 1)
    chains = [tiny.problem(rng, steps) for steps in lengths for _ in range(FRESH // len(lengths))]

    async def ask(model: tiny.TinyModel) -> Outcome:
        answers = [await model.complete(Request.ask(tiny.prompt(chain))) for chain in chains]
        pairs = zip(chains, answers, strict=True)
        return Outcome(
            np.array([bool(tiny.check(chain, answer.text)) for chain, answer in pairs]),
            np.array([answer.samples[0].min_logprob for answer in answers]),
        )

    return {size: asyncio.run(ask(tiny.load(size))) for size in tiny.TINY_SIZES}


class TestShippedWeights:
    """What the manifest and the documentation promise, on problems drawn anew."""

    @pytest.mark.parametrize(("cheap", "dear"), NEIGHBOURS)
    def test_larger_is_better(self, outcomes: dict[str, Outcome], cheap: str, dear: str) -> None:
        gain = outcomes[dear].right.mean() - outcomes[cheap].right.mean()
        assert gain >= 0.10

    @pytest.mark.parametrize("size", tiny.TINY_SIZES)
    def test_confidence_separates_right_from_wrong(
        self, outcomes: dict[str, Outcome], size: str
    ) -> None:
        outcome = outcomes[size]
        sure, unsure = outcome.confidence[outcome.right], outcome.confidence[~outcome.right]
        area = stats.mannwhitneyu(sure, unsure).statistic / (len(sure) * len(unsure))
        assert area >= 0.75

    @pytest.mark.parametrize(("cheap", "dear"), NEIGHBOURS)
    def test_neighbours_differ_both_ways(
        self, outcomes: dict[str, Outcome], cheap: str, dear: str
    ) -> None:
        left, right = outcomes[cheap].right, outcomes[dear].right
        assert (left & ~right).sum() >= 5
        assert (right & ~left).sum() >= 5

    @pytest.mark.parametrize("size", tiny.TINY_SIZES)
    def test_manifest(self, outcomes: dict[str, Outcome], size: str) -> None:
        manifest = json.loads((WEIGHTS / "MANIFEST.json").read_text())
        entry = manifest["sizes"][size]
        data = (WEIGHTS / size / "model.safetensors").read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]
        assert entry["parameters"] == tiny.load(size).shape.parameters
        assert outcomes[size].right.mean() == pytest.approx(entry["measured"]["accuracy"], abs=0.05)

    def test_weights_are_small_and_fp16(self) -> None:
        files = list(WEIGHTS.rglob("*.safetensors"))
        assert len(files) == 6  # each model, and its heads
        assert sum(file.stat().st_size for file in files) < 1_000_000
        for file in files:
            data = file.read_bytes()
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            header.pop("__metadata__", None)
            assert {tensor["dtype"] for tensor in header.values()} == {"F16"}


class TestPrices:
    def test_in_proportion_to_flops(self) -> None:
        models = {size: tiny.load(size) for size in tiny.TINY_SIZES}
        large = models["large"]
        assert large.card.rates is not None
        assert large.card.rates.output == 600_000
        for model in models.values():
            assert model.card.rates is not None
            assert model.card.rates.output == 4 * model.card.rates.input
            share = model.flops_per_token() / large.flops_per_token()
            assert model.card.rates.input == round(large.card.rates.input * share)

    def test_flops_by_brute_force(self, model: tiny.TinyModel) -> None:
        shape, context = model.shape, PRICED_CONTEXT
        head = shape.width // shape.heads
        products = [(shape.width, shape.vocabulary)]
        for _ in range(shape.layers):
            products += [(shape.width, shape.width)] * 4
            products += [(shape.width, shape.feed_forward)] * 2
            products += [(shape.feed_forward, shape.width)]
            products += [(head, context), (context, head)] * shape.heads
        assert model.flops_per_token(context) == sum(2 * rows * cols for rows, cols in products)


def reference(
    size: str, tokens: Sequence[int], sees: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Logits of a Llama written straight from its definition, in float64, without a cache.

    `sees[i, j]` says whether token i sees token j; None means all up to itself.
    """
    config = json.loads((WEIGHTS / size / "config.json").read_text())
    tensors = load_file(WEIGHTS / size / "model.safetensors")
    w = {name.removeprefix("model."): t.astype(np.float64) for name, t in tensors.items()}
    count, heads = len(tokens), config["num_attention_heads"]
    head = config["hidden_size"] // heads
    if sees is None:
        sees = np.tri(count, dtype=np.bool_)

    def norm(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + config["rms_norm_eps"]) * w[name]

    def turned(x: NDArray[np.float64]) -> NDArray[np.float64]:
        half = head // 2
        angles = np.arange(count)[:, None] * config["rope_theta"] ** (-np.arange(half) / half)
        first, second = x[:, :half], x[:, half:]
        cos, sin = np.cos(angles), np.sin(angles)
        return np.hstack((first * cos - second * sin, second * cos + first * sin))

    x = w["embed_tokens.weight"][list(tokens)]
    for layer in range(config["num_hidden_layers"]):
        name = f"layers.{layer}."
        y = norm(x, name + "input_layernorm.weight")
        q, k, v = (y @ w[f"{name}self_attn.{part}_proj.weight"].T for part in "qkv")
        mixed = []
        for h in range(heads):
            own = slice(h * head, (h + 1) * head)
            scores = turned(q[:, own]) @ turned(k[:, own]).T / np.sqrt(head)
            weights = np.where(sees, np.exp(scores), 0)
            mixed.append(weights / weights.sum(-1, keepdims=True) @ v[:, own])
        x = x + np.hstack(mixed) @ w[name + "self_attn.o_proj.weight"].T
        y = norm(x, name + "post_attention_layernorm.weight")
        gate = y @ w[name + "mlp.gate_proj.weight"].T
        up = y @ w[name + "mlp.up_proj.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w[name + "mlp.down_proj.weight"].T
    logits: NDArray[np.float64] = norm(x, "norm.weight") @ w["lm_head.weight"].T
    return logits


class TestEngine:
    def test_protocols(self, model: tiny.TinyModel) -> None:
        local: LocalModel = model
        assert isinstance(local, Model)

    def test_logits_follow_the_definition(self, model: tiny.TinyModel) -> None:
        tokens = [*model.encode("9*7-8+6*3-4"), 6, 8, 7]
        logits = model.step(model.start([]), tokens)
        np.testing.assert_allclose(logits, reference(model.size, tokens), atol=1e-4)

    def test_cached_equals_uncached(self, model: tiny.TinyModel) -> None:
        tokens = [*model.encode(CHAIN), 10, 7, 12]
        whole = model.step(model.start([]), tokens)
        state = model.start(tokens[:4])
        pieces = [model.step(state, tokens[4:6])]
        pieces += [model.step(state, [token]) for token in tokens[6:]]
        np.testing.assert_allclose(np.concatenate(pieces), whole[4:], atol=1e-4)
        np.testing.assert_allclose(model.start(tokens).logits, whole[-1], atol=1e-4)

    def test_fork_is_independent(self, model: tiny.TinyModel) -> None:
        state = model.start(model.encode(CHAIN))
        fork = state.fork()
        expected = model.step(state.fork(), [5, 6])
        model.step(fork, [9, 9, 9])
        np.testing.assert_array_equal(model.step(state, [5, 6]), expected)
        assert (len(state), len(fork)) == (11, 12)

    def test_truncate_forgets(self, model: tiny.TinyModel) -> None:
        tokens = model.encode(CHAIN)
        state = model.start(tokens)
        held = state.nbytes
        model.step(state, [9, 9])
        state.truncate(len(tokens))
        assert state.nbytes == held
        expected = model.step(model.start(tokens), [5])
        np.testing.assert_allclose(model.step(state, [5]), expected, atol=1e-4)

    def test_nbytes_counts_keys_and_values(self, model: tiny.TinyModel) -> None:
        tokens = model.encode(CHAIN)
        state = model.start(tokens)
        assert state.nbytes == len(tokens) * model.shape.layers * model.shape.width * 2 * 4

    def test_keep_evicts_without_moving_the_rest(self, model: tiny.TinyModel) -> None:
        tokens = model.encode(CHAIN)
        kept = [0, 8, 2, 7]
        state = model.start(tokens)
        state.keep(kept)
        sees = np.tri(len(tokens) + 2, dtype=np.bool_)
        sees[-2:, [at for at in range(len(tokens)) if at not in kept]] = False
        expected = reference(model.size, [*tokens, 5, 6], sees)
        np.testing.assert_allclose(model.step(state, [5]), expected[-2:-1], atol=1e-4)
        np.testing.assert_allclose(model.step(state, [6]), expected[-1:], atol=1e-4)

    def test_tree_equals_separate_branches(self, model: tiny.TinyModel) -> None:
        prompt = model.encode(CHAIN)
        # 0 -> 1 -> 3, 0 -> 2 -> 4: five nodes, two branches.
        tokens = [10, 7, 8, 12, 4]
        paths = [[0], [0, 1], [0, 2], [0, 1, 3], [0, 2, 4]]
        mask = np.zeros((5, 5), np.bool_)
        for node, path in enumerate(paths):
            mask[node, path] = True
        tree = model.start(prompt)
        logits = model.step(tree, tokens, mask)
        for node, path in enumerate(paths):
            alone = model.step(model.start(prompt), [tokens[i] for i in path])
            np.testing.assert_allclose(logits[node], alone[-1], atol=1e-4)
        tree.keep([*range(len(prompt)), *(len(prompt) + i for i in paths[4])])
        branch = model.start(prompt)
        model.step(branch, [tokens[i] for i in paths[4]])
        expected = model.step(branch, [6, 2])
        np.testing.assert_allclose(model.step(tree, [6, 2]), expected, atol=1e-4)

    def test_bad_use_is_told(self, model: tiny.TinyModel) -> None:
        state = model.start(model.encode(CHAIN))
        with pytest.raises(RequestError, match="holds 9"):
            state.truncate(10)
        with pytest.raises(RequestError, match="holds 9"):
            state.keep([9])
        with pytest.raises(RequestError, match="tokens must be"):
            model.step(state, [99])
        with pytest.raises(RequestError, match="mask has shape"):
            model.step(state, [5, 6], np.ones((1, 1), np.bool_))
        with pytest.raises(RequestError, match="context window of 32"):
            model.step(state, [5] * 24)
        with pytest.raises(ConfigError, match="small, mid, large"):
            tiny.TinyModel("huge")


class TestComplete:
    async def test_greedy_is_the_default(self, model: tiny.TinyModel) -> None:
        ask = tiny.prompt(CHAIN)
        default = await model.complete(Request.ask(ask))
        zero = await model.complete(Request.ask(ask, temperature=0.0, n=3, seed=5))
        assert [sample.text for sample in zero.samples] == [default.text] * 3
        assert default.samples[0].finish_reason == "stop"
        assert default.model == f"tiny-{model.size}"

    async def test_temperature_near_zero_is_greedy(self, model: tiny.TinyModel) -> None:
        greedy = await model.complete(Request.ask(CHAIN))
        cold = await model.complete(Request.ask(CHAIN, temperature=1e-310, n=2, seed=0))
        assert [sample.text for sample in cold.samples] == [greedy.text] * 2

    async def test_samples_depend_on_seed_and_index_alone(self, model: tiny.TinyModel) -> None:
        ask = tiny.prompt("9*7-8+6*3-4")

        async def texts(n: int, seed: int) -> list[str]:
            request = Request.ask(ask, n=n, temperature=1.5, seed=seed)
            return [sample.text for sample in (await model.complete(request)).samples]

        many = await texts(40, 3)
        assert await texts(40, 3) == many
        assert await texts(7, 3) == many[:7]
        assert await texts(1, 3) == many[:1]
        assert await texts(40, 4) != many
        assert len(set(many)) > 1

    async def test_usage_counts_the_prompt_once(self, model: tiny.TinyModel) -> None:
        request = Request.ask(tiny.prompt(CHAIN), n=5, temperature=1.0, seed=1)
        response = await model.complete(request)
        assert response.usage is not None
        assert response.usage_basis == "exact"
        assert response.usage.input == len(model.encode(CHAIN)) == 9
        assert response.usage.output == sum(s.output_tokens or 0 for s in response.samples)
        for sample in response.samples:
            assert sample.output_tokens == len(sample.text.split()) + 1
        greedy = await model.complete(Request.ask(tiny.prompt(CHAIN), n=5))
        assert greedy.usage is not None
        assert greedy.usage.output == 5 * (greedy.samples[0].output_tokens or 0)

    async def test_max_tokens_cuts(self, model: tiny.TinyModel) -> None:
        whole = await model.complete(Request.ask(tiny.prompt(CHAIN)))
        cut = await model.complete(Request.ask(tiny.prompt(CHAIN), max_tokens=2))
        assert cut.samples[0].finish_reason == "length"
        assert cut.samples[0].output_tokens == 2
        assert whole.text.startswith(cut.text)

    @pytest.mark.parametrize("temperature", [None, 0.7, 1.3])
    async def test_logprobs_are_the_models_own(
        self, model: tiny.TinyModel, temperature: float | None
    ) -> None:
        request = Request.ask(tiny.prompt(CHAIN), n=4, temperature=temperature, seed=2)
        for sample in (await model.complete(request)).samples:
            # With the end token, since none of these samples is cut.
            assert sample.finish_reason == "stop"
            tokens = [3 + "0123456789+-*=".index(c) for c in sample.text.split()] + [model.eos]
            prompt = model.encode(CHAIN)
            logits = model.step(model.start(prompt[:-1]), [prompt[-1], *tokens[:-1]])
            exact = logits.astype(np.float64)
            logprobs = exact - np.log(np.exp(exact).sum(-1, keepdims=True))
            chosen = logprobs[np.arange(len(tokens)), tokens]
            assert sample.mean_logprob == pytest.approx(chosen.mean(), abs=1e-5)
            assert sample.min_logprob == pytest.approx(chosen.min(), abs=1e-5)

    @pytest.mark.parametrize("temperature", [0.7, 1.0, 2.0])
    async def test_samples_follow_the_softmax(
        self, model: tiny.TinyModel, temperature: float
    ) -> None:
        n = 4_000
        chain = "9*7-8+6*3-4"
        request = Request.ask(chain, n=n, temperature=temperature, seed=11, max_tokens=1)
        response = await model.complete(request)
        # The characters that carry text; the rest (end of text, padding) show as "".
        keys = [*"0123456789+-*=", ""]
        logits = model.start(model.encode(chain)).logits
        assert logits is not None
        weights = np.exp((logits - logits.max()).astype(np.float64) / temperature)
        shares = weights / weights.sum()
        expected = np.append(shares[3:], shares[:3].sum()) * n
        texts = [sample.text for sample in response.samples]
        observed = np.array([texts.count(key) for key in keys], float)
        rare = expected < 5
        cells = [(observed[~rare], expected[~rare])]
        if rare.any():
            cells.append((observed[rare].sum(keepdims=True), expected[rare].sum(keepdims=True)))
        seen, due = (np.concatenate(part) for part in zip(*cells, strict=True))
        statistic = ((seen - due) ** 2 / due).sum()
        assert stats.chi2.sf(statistic, max(len(seen) - 1, 1)) > 1e-4

    async def test_stream_tells_what_complete_tells(self, model: tiny.TinyModel) -> None:
        request = Request.ask(CHAIN, n=30, temperature=5.0, seed=9, max_tokens=6)
        response = await model.complete(request)
        assert {sample.finish_reason for sample in response.samples} == {"stop", "length"}
        chunks = [chunk async for chunk in model.stream(request)]
        for index, sample in enumerate(response.samples):
            own = [chunk for chunk in chunks if chunk.index == index]
            assert "".join(chunk.text for chunk in own) == sample.text
            (end,) = [chunk for chunk in own if chunk.finish_reason]
            assert end.finish_reason == sample.finish_reason
            assert end.min_logprob == sample.min_logprob
            assert end.mean_logprob == sample.mean_logprob
            assert end.output_tokens == sample.output_tokens
        assert chunks[-1].usage == response.usage
        so_far = [chunk.usage.output_tokens for chunk in chunks if chunk.usage is not None]
        assert len(so_far) == len(chunks)
        assert so_far == sorted(so_far)

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("Tell me a joke", "there is none"),
            ("3 + 14 * 2 =", "14 in '3\\+14\\*2' has more than one digit"),
            ("8 / 2 =", "'/' in '8/2' is not an operator"),
            ("1+1+1+1+1+1+1+1", "has 7 steps"),
            ("", "there is none"),
        ],
    )
    async def test_unreadable_prompts_are_told(
        self, model: tiny.TinyModel, text: str, reason: str
    ) -> None:
        with pytest.raises(RequestError, match=reason) as caught:
            await model.complete(Request.ask(text))
        assert "3 + 4 * 2 - 5 =" in str(caught.value)
        assert caught.value.code == "unreadable_prompt"

    @pytest.mark.parametrize(
        ("settings", "param"),
        [
            ({"n": 0}, "n"),
            ({"temperature": -1.0}, "temperature"),
            ({"max_tokens": 0}, "max_tokens"),
        ],
    )
    async def test_bad_settings_are_told(
        self, model: tiny.TinyModel, settings: dict[str, float], param: str
    ) -> None:
        with pytest.raises(RequestError) as caught:
            await model.complete(Request.ask(CHAIN, **settings))
        assert caught.value.param == param

    async def test_last_user_message_counts(self, model: tiny.TinyModel) -> None:
        messages = (
            Message("system", "You work out 1 + 1 ="),
            Message("user", "9 * 9 - 1 ="),
            Message("assistant", "1 0"),
            Message("user", "thanks, and 3 + 4 ="),
        )
        asked = await model.complete(Request(messages))
        assert asked.text == (await model.complete(Request.ask("3+4"))).text


class TestChains:
    @given(steps=st.integers(1, tiny.MAX_STEPS), seed=st.integers(0, 2**32))
    def test_solution_checks(self, steps: int, seed: int) -> None:
        chain = tiny.problem(np.random.default_rng(seed), steps)
        assert tiny.parse(tiny.prompt(chain)) == chain
        values = tiny.solve(tiny.prompt(chain))
        assert len(values) == steps
        value = int(chain[0])
        for at, expected in zip(range(1, len(chain), 2), values, strict=True):
            value = eval(f"({value}){chain[at : at + 2]}") % 10
            assert value == expected
        working = " ".join(map(str, values))
        assert tiny.check(chain, working) == tiny.Check(True, steps, steps)

    def test_check_counts_right_steps(self) -> None:
        assert tiny.solve(CHAIN) == (7, 4, 9)
        assert tiny.check(CHAIN, "7 4 9") == tiny.Check(True, 3, 3)
        assert tiny.check(CHAIN, "7 5 9") == tiny.Check(True, 3, 1)
        assert tiny.check(CHAIN, "7 4 8") == tiny.Check(False, 3, 2)
        assert tiny.check(CHAIN, "7 4") == tiny.Check(False, 3, 2)
        assert tiny.check(CHAIN, "") == tiny.Check(False, 3, 0)
        assert not tiny.check(CHAIN, "7 4 8")

    @pytest.mark.parametrize(
        ("text", "chain"),
        [
            ("3 + 4 * 2 - 5 =", "3+4*2-5"),
            ("3+4*2-5", "3+4*2-5"),
            ("Modulo 10: 3 + 4 * 2 - 5.", "3+4*2-5"),
            ("First 1+1=2. Then 9 - 9 = ?", "9-9"),
        ],
    )
    def test_parse_reads_the_last_chain(self, text: str, chain: str) -> None:
        assert tiny.parse(text) == chain

    def test_steps_out_of_range(self) -> None:
        with pytest.raises(RequestError, match="1 to 6 steps, not 7"):
            tiny.problem(np.random.default_rng(0), 7)
