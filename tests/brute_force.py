"""A transformer in loops that counts every multiply-add, every cached number and what is live.

It reads a config.json's values by itself, shares no code with `farthing.cost.architecture`, and
computes real numbers: latent attention gives the same logits expanded and absorbed, and a prompt
read at once gives the same logits as one read token by token.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Brute:
    """Runs one sequence of a configuration of the families llama, mistral, mixtral and deepseek.

    Attributes:
        macs: multiply-adds by part.
        cache: keys and values, or latents, of each layer and token that is kept.
        touched: names of the weights read, experts one by one.
        live, peak: numbers of intermediates held now, and at most.
    """

    def __init__(self, config: dict[str, Any], *, absorbed: bool = False) -> None:
        self.config, self.absorbed = config, absorbed
        self.macs: Counter[str] = Counter()
        self.cache: list[list[tuple[Array, ...]]] = [[] for _ in range(config["num_hidden_layers"])]
        self.sizes: dict[str, int] = {}
        self.touched: set[str] = set()
        self.kv_read = 0
        self.live = self.peak = 0
        self.before = 0

    def read(self, tokens: list[int]) -> Array:
        """Logits after the last of `tokens`."""
        width, vocabulary = self.config["hidden_size"], self.config["vocab_size"]
        x = self.hold(np.stack([self.weight(f"embed.{token}", 1, width)[0] for token in tokens]))
        for layer in range(self.config["num_hidden_layers"]):
            if self.config["model_type"] == "deepseek_v3":
                self.attend_latent(layer, x)
            else:
                self.attend(layer, x)
            self.feed_forward(layer, x)
        self.before += len(tokens)
        last = self.hold(normed(x[-1:]))
        logits = self.product("head", last, "lm_head", vocabulary)
        self.drop(x, last, logits)
        assert self.live == 0
        return logits[0]

    def attend(self, layer: int, x: Array) -> None:
        config = self.config
        heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
        size = config.get("head_dim") or config["hidden_size"] // heads
        window = config.get("sliding_window")
        h = self.hold(normed(x))
        q = self.product("projections", h, f"{layer}.q", heads * size)
        k = self.product("projections", h, f"{layer}.k", kv * size)
        v = self.product("projections", h, f"{layer}.v", kv * size)
        self.drop(h)
        mixed = self.hold(np.zeros((len(x), heads * size)))
        held = self.cache[layer]
        seen: set[int] = set()
        for row in range(len(x)):
            held.append((k[row], v[row]))
            position = self.before + row
            first = 0 if window is None else max(0, position + 1 - window)
            seen |= set(range(first, position + 1))
            for head in range(heads):
                group = head // (heads // kv)
                part = slice(group * size, (group + 1) * size)
                query = q[row, head * size : (head + 1) * size]
                keys = [held[at][0][part] for at in range(first, position + 1)]
                values = [held[at][1][part] for at in range(first, position + 1)]
                mixed[row, head * size : (head + 1) * size] = self.look(query, keys, values)
        self.kv_read += len(seen) * 2 * kv * size
        self.drop(q, k, v)
        out = self.product("projections", mixed, f"{layer}.o", config["hidden_size"])
        self.drop(mixed)
        x += out
        self.drop(out)

    def attend_latent(self, layer: int, x: Array) -> None:
        config = self.config
        heads, rank = config["num_attention_heads"], config["kv_lora_rank"]
        nope, rope = config["qk_nope_head_dim"], config["qk_rope_head_dim"]
        value = config["v_head_dim"]
        h = self.hold(normed(x))
        low = self.product("projections", h, f"{layer}.q_a", config["q_lora_rank"])
        q = self.product("projections", low, f"{layer}.q_b", heads * (nope + rope))
        self.drop(low)
        latent = self.product("projections", h, f"{layer}.kv_a", rank + rope)
        self.drop(h)
        past = len(self.cache[layer])
        self.cache[layer] += [(row,) for row in latent]
        expand = self.weight(f"{layer}.kv_b", rank, heads * (nope + value)).reshape(
            rank, heads, nope + value
        )
        rows = [row for (row,) in self.cache[layer]]
        if self.absorbed:
            downs = self.hold(np.zeros((len(x), heads * (rank + rope))))
            self.drop(q)
            inners = self.hold(np.zeros((len(x), heads * rank)))
            self.drop(latent, downs)
            mixed = self.hold(np.zeros((len(x), heads * value)))
            self.drop(inners)
        else:
            cached = self.hold(np.zeros((past, rank + rope)))
            made = self.hold(np.zeros((len(rows), heads * (nope + value))))
            mixed = self.hold(np.zeros((len(x), heads * value)))
            self.drop(q, latent, cached, made)
        self.kv_read += len(rows) * (rank + rope)
        expanded: list[Array] = []
        if not self.absorbed:
            for at, row in enumerate(rows):
                part = "projections" if at >= past else "attention"
                expanded.append(
                    np.stack([self.times(part, row[:rank], expand[:, i]) for i in range(heads)])
                )
        for row in range(len(x)):
            for head in range(heads):
                query = q[row].reshape(heads, nope + rope)[head]
                reach = range(past + row + 1)
                if self.absorbed:
                    down = self.times("projections", query[:nope], expand[:, head, :nope].T)
                    query = np.concatenate((down, query[nope:]))
                    keys = [rows[at] for at in reach]
                    inner = self.look(query, keys, [rows[at][:rank] for at in reach], nope + rope)
                    found = self.times("projections", inner, expand[:, head, nope:])
                else:
                    keys = [
                        np.concatenate((expanded[at][head][:nope], rows[at][rank:])) for at in reach
                    ]
                    found = self.look(query, keys, [expanded[at][head][nope:] for at in reach])
                mixed[row, head * value : (head + 1) * value] = found
        out = self.product("projections", mixed, f"{layer}.o", config["hidden_size"])
        self.drop(mixed)
        x += out
        self.drop(out)

    def feed_forward(self, layer: int, x: Array) -> None:
        config, width = self.config, self.config["hidden_size"]
        experts = config.get("num_local_experts") or config.get("n_routed_experts")
        if not experts or layer < config.get("first_k_dense_replace", 0):
            h = self.hold(normed(x))
            out = self.mlp(f"{layer}.mlp", h, config["intermediate_size"], drop=h)
            x += out
            self.drop(out)
            return
        used = config["num_experts_per_tok"]
        inner = config.get("moe_intermediate_size") or config["intermediate_size"]
        h = self.hold(normed(x))
        router = self.product("feed_forward", h, f"{layer}.router", experts)
        gathered = self.hold(np.repeat(h, used, 0))
        chosen = [(row, e) for row in range(len(x)) for e in np.argsort(-router[row])[:used]]
        hidden = self.hold(np.zeros((len(chosen), 2 * inner)))
        shared = None
        if config.get("n_shared_experts"):
            wide = config["n_shared_experts"] * inner
            shared = [
                self.product("feed_forward", h, f"{layer}.shared.{w}", wide) for w in ("gate", "up")
            ]
        for at, (row, expert) in enumerate(chosen):
            for place, letter in enumerate(("gate", "up")):
                name = f"{layer}.expert{expert}.{letter}"
                made = self.times("feed_forward", h[row], self.weight(name, width, inner))
                hidden[at, place * inner : (place + 1) * inner] = made
        self.drop(h, router, gathered)
        acted = swish(hidden[:, :inner]) * hidden[:, inner:]
        self.drop(hidden[:, inner:])
        outs = self.hold(np.zeros((len(chosen), width)))
        extra = None
        if shared:
            both = swish(shared[0]) * shared[1]
            self.drop(shared[1])
            extra = self.product("feed_forward", both, f"{layer}.shared.down", width)
            self.drop(shared[0])
        for at, (row, expert) in enumerate(chosen):
            down = self.weight(f"{layer}.expert{expert}.down", inner, width)
            outs[at] = self.times("feed_forward", acted[at], down)
            x[row] += outs[at] / used
        self.drop(acted, outs)
        if extra is not None:
            x += extra
            self.drop(extra)

    def mlp(self, name: str, h: Array, inner: int, drop: Array) -> Array:
        gate = self.product("feed_forward", h, f"{name}.gate", inner)
        up = self.product("feed_forward", h, f"{name}.up", inner)
        self.drop(drop)
        gate[:] = swish(gate) * up
        self.drop(up)
        out = self.product("feed_forward", gate, f"{name}.down", self.config["hidden_size"])
        self.drop(gate)
        return out

    def look(
        self, query: Array, keys: list[Array], values: list[Array], scale: int | None = None
    ) -> Array:
        """One head of one token: scores, softmax and the weighted sum."""
        scores = np.array([self.dot("attention", query, key) for key in keys])
        weights = np.exp((scores - scores.max()) / np.sqrt(scale or len(query)))
        weights /= weights.sum()
        columns = np.stack(values).T
        return np.array([self.dot("attention", weights, column) for column in columns])

    def product(self, part: str, x: Array, name: str, outputs: int) -> Array:
        """A whole matrix product, whose result is held."""
        matrix = self.weight(name, x.shape[1], outputs)
        return self.hold(np.stack([self.times(part, row, matrix) for row in x]))

    def times(self, part: str, row: Array, matrix: Array) -> Array:
        return np.array([self.dot(part, row, column) for column in matrix.T])

    def dot(self, part: str, a: Array, b: Array) -> float:
        assert a.shape == b.shape
        self.macs[part] += len(a)
        return float(a @ b)

    def weight(self, name: str, inputs: int, outputs: int) -> Array:
        seed = np.random.SeedSequence(list(name.encode()))
        self.touched.add(name)
        self.sizes[name] = inputs * outputs
        return np.random.default_rng(seed).normal(0, inputs**-0.5, (inputs, outputs))

    def hold(self, array: Array) -> Array:
        self.live += array.size
        self.peak = max(self.peak, self.live)
        return array

    def drop(self, *arrays: Array) -> None:
        self.live -= sum(array.size for array in arrays)


def normed(x: Array) -> Array:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)


def swish(x: Array) -> Array:
    return x / (1 + np.exp(-x))
