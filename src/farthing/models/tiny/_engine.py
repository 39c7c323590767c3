"""A Llama forward pass in numpy with a KV cache: RMSNorm, RoPE, attention, SwiGLU.

Shapes: B sequences, T new tokens, L layers, H heads of D numbers, width E = H * D, feed-forward
width F, vocabulary V, N tokens in the cache. All arithmetic is float32.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from farthing.core.errors import RequestError

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_GROW = 16


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a Llama, read from its config.json."""

    vocabulary: int
    width: int
    feed_forward: int
    layers: int
    heads: int
    positions: int
    rope_theta: float
    norm_eps: float

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Shape:
        """From a Hugging Face LlamaConfig as JSON."""
        return cls(
            vocabulary=config["vocab_size"],
            width=config["hidden_size"],
            feed_forward=config["intermediate_size"],
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            positions=config["max_position_embeddings"],
            rope_theta=config["rope_theta"],
            norm_eps=config["rms_norm_eps"],
        )

    @property
    def head(self) -> int:
        """Numbers a head."""
        return self.width // self.heads

    @property
    def parameters(self) -> int:
        """All weights: embedding, layers, norms and output matrix."""
        layer = 4 * self.width**2 + 3 * self.width * self.feed_forward + 2 * self.width
        return self.layers * layer + 2 * self.vocabulary * self.width + self.width

    def flops_per_token(self, context: int) -> int:
        """FLOPs of reading one token that attends to `context` tokens, itself included.

        Counts the matrix products, two a multiply-add: projections, feed-forward and output
        matrix, 2 a weight; scores and weighted sum, 4 E a token attended to and layer. Norms,
        softmax, activations and the embedding lookup are left out.
        """
        layer = 4 * self.width**2 + 3 * self.width * self.feed_forward
        dense = self.layers * layer + self.vocabulary * self.width
        return 2 * dense + 4 * self.layers * self.width * context


class Cache:
    """Keys and values of B sequences of equal length; what `Weights.forward` reads and grows.

    Attributes:
        keys, values: shape (L, B, H, capacity, D); the first `length` tokens count.
        positions: the RoPE position of each token, shape (length,).
        next_position: the position that a following token gets.
    """

    __slots__ = ("keys", "length", "next_position", "positions", "values")

    def __init__(self, keys: Floats, values: Floats, positions: Ints, next_position: int) -> None:
        self.keys, self.values = keys, values
        self.positions = positions
        self.length = len(positions)
        self.next_position = next_position

    @classmethod
    def empty(cls, shape: Shape, batch: int = 1) -> Cache:
        """A cache without tokens."""
        size = (shape.layers, batch, shape.heads, _GROW, shape.head)
        zeros = np.zeros(size, np.float32)
        return cls(zeros, zeros.copy(), np.zeros(0, np.int64), 0)

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and values of the tokens held."""
        return self.keys[:, :, :, : self.length].nbytes + self.values[:, :, :, : self.length].nbytes

    @property
    def reserved(self) -> int:
        """Bytes of its arrays, room for further tokens included."""
        return self.keys.nbytes + self.values.nbytes

    def share(self) -> Cache:
        """The tokens held, without room: what is appended to it, or to this one, is not shared."""
        held = np.s_[:, :, :, : self.length]
        return Cache(self.keys[held], self.values[held], self.positions, self.next_position)

    def rows(self, indices: Sequence[int] | Ints) -> Cache:
        """An independent cache of the sequences at `indices`, which may repeat."""
        return Cache(
            self.keys[:, indices], self.values[:, indices], self.positions, self.next_position
        )

    def tokens(self, indices: Sequence[int] | Ints) -> Cache:
        """An independent cache of the tokens at `indices`, in that order."""
        positions = self.positions[indices]
        following = int(positions.max()) + 1 if len(positions) else 0
        return Cache(self.keys[..., indices, :], self.values[..., indices, :], positions, following)

    def append(self, positions: Ints) -> slice:
        """Make room for tokens at `positions`; their place along the capacity axis."""
        start = self.length
        stop = start + len(positions)
        capacity = self.keys.shape[3]
        if stop > capacity:
            size = list(self.keys.shape)
            size[3] = max(stop, capacity + _GROW)
            for name in ("keys", "values"):
                grown = np.empty(size, np.float32)
                grown[:, :, :, :start] = getattr(self, name)[:, :, :, :start]
                setattr(self, name, grown)
        self.positions = np.concatenate((self.positions, positions))
        self.length = stop
        self.next_position = int(positions.max()) + 1
        return slice(start, stop)


@dataclass(frozen=True, slots=True)
class _Layer:
    """One block, its matrices transposed for ``x @ w``.

    The norm weights are folded into the matrices that follow them, and the 1/sqrt(D) of the
    scores into the queries. `attend` maps to (q, k, rotated q, rotated k, v): RoPE's half
    rotation is linear, so that it costs columns here instead of copies in every step.
    """

    attend: Floats  # (E, 5 E)
    out: Floats  # (E, E)
    gate_up: Floats  # (E, 2 F)
    down: Floats  # (F, E)


class Weights:
    """A Llama ready to run.

    Attributes:
        shape: its sizes.
    """

    def __init__(self, shape: Shape, tensors: Mapping[str, NDArray[Any]]) -> None:
        """From tensors under Hugging Face's Llama names, of any float type."""
        self.shape = shape
        self._layers = tuple(_layer(shape, tensors, index) for index in range(shape.layers))
        self._embedding = np.ascontiguousarray(tensors["model.embed_tokens.weight"], np.float32)
        head = _matrix(tensors, "lm_head.weight", "model.norm.weight")
        self._head = np.ascontiguousarray(head)
        frequencies = shape.rope_theta ** (-np.arange(0, shape.head, 2) / shape.head)
        angles = np.outer(np.arange(shape.positions), np.tile(frequencies, 2))
        self._cos = np.cos(angles).astype(np.float32)
        self._sin = np.sin(angles).astype(np.float32)

    @classmethod
    def load(cls, folder: Path) -> Weights:
        """From a folder with `model.safetensors` and `config.json`."""
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return cls(Shape.from_config(config), load_file(folder / "model.safetensors"))

    def forward(
        self,
        cache: Cache,
        tokens: Ints,
        mask: NDArray[np.bool_] | None = None,
        *,
        last: bool,
        stream: list[Floats] | None = None,
    ) -> Floats:
        """Read `tokens`, shape (B, T), into `cache`; logits (B, T, V), or (B, 1, V) if `last`.

        `mask[i, j]` says whether new token i sees new token j (it always sees itself and all
        that the cache held before); a token's position is that of the chain of tokens it sees.
        None means a plain sequence. Into `stream` goes the residual stream of the last token
        after the first block, before the last feed-forward and at the end, each (B, E).
        RequestError beyond the context window.
        """
        shape = self.shape
        batch, new = tokens.shape
        before = cache.length
        bias = None
        if mask is None:
            positions = np.arange(cache.next_position, cache.next_position + new)
            if new > 1:
                mask = np.tri(new, dtype=np.bool_)
        else:
            mask = mask | np.eye(new, dtype=np.bool_)
            positions = cache.next_position + mask.sum(1) - 1
        if mask is not None:
            bias = np.zeros((new, before + new), np.float32)
            bias[:, before:][~mask] = -np.inf
        if positions.max() >= shape.positions:
            raise RequestError(
                f"position {positions.max()} is beyond the context window of "
                f"{shape.positions} tokens",
                param="messages",
                code="context_length_exceeded",
            )
        place = cache.append(positions)
        cos, sin = self._cos[positions][:, None], self._sin[positions][:, None]
        x = self._embedding[tokens]
        split = (batch, new, 5, shape.heads, shape.head)
        for index, layer in enumerate(self._layers):
            parts = (_normed(x, shape.norm_eps) @ layer.attend).reshape(split)
            turned = parts[:, :, 0:2] * cos[:, None] + parts[:, :, 2:4] * sin[:, None]
            keys, values = cache.keys[index], cache.values[index]
            keys[:, :, place] = turned[:, :, 1].swapaxes(1, 2)
            values[:, :, place] = parts[:, :, 4].swapaxes(1, 2)
            keys, values = keys[:, :, : place.stop], values[:, :, : place.stop]
            scores = turned[:, :, 0].swapaxes(1, 2) @ keys.swapaxes(2, 3)
            if bias is not None:
                scores += bias
            mixed = _softmax(scores) @ values
            x = x + mixed.swapaxes(1, 2).reshape(batch, new, shape.width) @ layer.out
            if stream is not None and index + 1 == shape.layers:
                stream.append(x[:, -1])
            gate_up = _normed(x, shape.norm_eps) @ layer.gate_up
            gate, up = gate_up[..., : shape.feed_forward], gate_up[..., shape.feed_forward :]
            x = x + (gate * (0.5 + 0.5 * np.tanh(0.5 * gate)) * up) @ layer.down
            if stream is not None and index in (0, shape.layers - 1):
                stream.append(x[:, -1])
        if last:
            x = x[:, -1:]
        logits: Floats = _normed(x, shape.norm_eps) @ self._head
        return logits


def _normed(x: Floats, eps: float) -> Floats:
    """RMSNorm without its weight, over the last axis."""
    square = np.einsum("...i,...i->...", x, x)[..., None]
    normed: Floats = x / np.sqrt(square / x.shape[-1] + eps)
    return normed


def _softmax(scores: Floats) -> Floats:
    """Softmax over the last axis, in place."""
    scores -= scores.max(-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(-1, keepdims=True)
    return scores


def _matrix(tensors: Mapping[str, NDArray[Any]], name: str, norm: str | None = None) -> Floats:
    """A weight matrix as float32, transposed, the norm before it folded in."""
    matrix: Floats = tensors[name].astype(np.float32).T
    if norm is not None:
        matrix = tensors[norm].astype(np.float32)[:, None] * matrix
    return matrix


def _layer(shape: Shape, tensors: Mapping[str, NDArray[Any]], index: int) -> _Layer:
    prefix = f"model.layers.{index}."
    before_attention = prefix + "input_layernorm.weight"
    before_feed_forward = prefix + "post_attention_layernorm.weight"

    def attention(letter: str) -> Floats:
        return _matrix(tensors, f"{prefix}self_attn.{letter}_proj.weight", before_attention)

    def rotated(matrix: Floats) -> Floats:
        heads = matrix.reshape(shape.width, shape.heads, 2, shape.head // 2)
        turned = np.stack((-heads[:, :, 1], heads[:, :, 0]), axis=2)
        return turned.reshape(shape.width, shape.width)

    query = attention("q") * np.float32(shape.head**-0.5)
    key = attention("k")
    parts = (query, key, rotated(query), rotated(key), attention("v"))
    mlp = prefix + "mlp."
    gate = _matrix(tensors, mlp + "gate_proj.weight", before_feed_forward)
    up = _matrix(tensors, mlp + "up_proj.weight", before_feed_forward)
    return _Layer(
        attend=np.ascontiguousarray(np.concatenate(parts, axis=1)),
        out=np.ascontiguousarray(_matrix(tensors, prefix + "self_attn.o_proj.weight")),
        gate_up=np.ascontiguousarray(np.concatenate((gate, up), axis=1)),
        down=np.ascontiguousarray(_matrix(tensors, mlp + "down_proj.weight")),
    )
