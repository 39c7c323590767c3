"""The parts of a layer, from the names that config files give their sizes."""

from __future__ import annotations

from farthing.cost.architecture._keys import Keys
from farthing.cost.architecture.families import Family
from farthing.cost.architecture.formats import Format
from farthing.cost.architecture.shapes import Attention, Latent, Matrix


def attention(
    keys: Keys, family: Family, index: int, plain: Format
) -> tuple[Attention, list[Matrix]]:
    """How layer `index` attends, and the matrices of it."""
    if family.kind == "latent":
        return _latent(keys, plain)
    width = keys.number("hidden_size", "n_embd")
    heads = keys.number("num_attention_heads", "n_head")
    kv_heads = _kv_heads(keys, family, heads)
    if width % heads and keys.get("head_dim") is None and family.head is None:
        raise keys.wrong("hidden_size", f"{width} is no multiple of {heads} heads")
    head = keys.number("head_dim", default=family.head or width // heads)
    if heads % kv_heads:
        raise keys.wrong("num_key_value_heads", f"{heads} heads are no multiple of {kv_heads}")
    bias = keys.flag("bias" if family.kind == "falcon" else "attention_bias", family.bias)
    out_bias = bias if family.out_bias is None else family.out_bias

    def matrix(letter: str, inputs: int, outputs: int, biased: bool) -> Matrix:
        name = f"self_attn.{letter}_proj"
        return Matrix(name, inputs, outputs, plain, plain, biased, closes=letter == "o")

    own = Attention(heads, kv_heads, head, head, _window(keys, family, index))
    return own, [
        matrix("q", width, heads * head, bias),
        matrix("k", width, kv_heads * head, bias),
        matrix("v", width, kv_heads * head, bias),
        matrix("o", heads * head, width, out_bias),
    ]


def feed_forward(keys: Keys, family: Family, index: int, plain: Format) -> list[Matrix]:
    """The matrices after the attention of layer `index`."""
    width = keys.number("hidden_size", "n_embd")
    bias = keys.flag("bias" if family.kind == "falcon" else "mlp_bias", family.mlp_bias)
    if not family.experts or not _is_sparse(keys, family, index):
        default = 4 * width if family.kind in ("gpt2", "falcon") else None
        inner = keys.number("intermediate_size", "n_inner", "ffn_hidden_size", default=default)
        return _mlp("mlp", width, inner, plain, bias, family.gated)
    experts = keys.number("num_local_experts", "n_routed_experts", "num_experts")
    used = keys.number("num_experts_per_tok")
    if used > experts:
        raise keys.wrong("num_experts_per_tok", f"{used} of {experts} experts cannot be used")
    inner = keys.number("moe_intermediate_size", "intermediate_size")
    router = Matrix("mlp.gate", width, experts, plain, plain, family.expert_bias)
    found = [router]
    found += _mlp("mlp.experts", width, inner, plain, family.expert_bias, True, experts, used)
    shared = keys.get("n_shared_experts")
    if shared and family.experts == "deepseek":
        found += _mlp("mlp.shared_experts", width, int(shared) * inner, plain, False, True)
    if family.shared_gate:
        inner = keys.number("shared_expert_intermediate_size")
        found += _mlp("mlp.shared_expert", width, inner, plain, False, True)
        found.append(Matrix("mlp.shared_expert_gate", width, 1, plain, plain))
    return found


def norms(keys: Keys, family: Family, index: int, own: Attention) -> int:
    """Parameters of layer `index` that are no matrices: norms, sinks, a router's correction."""
    width = keys.number("hidden_size", "n_embd")
    total = family.norms * width
    if family.kind == "gpt2":
        total *= 2
    elif family.kind == "falcon":
        total = 2 * width * _falcon_norms(keys)
    if family.head_norms == "head":
        total += own.query * 2
    elif family.head_norms == "all":
        total += own.query * (own.heads + own.kv_heads)
    if own.latent:
        total += own.latent.rank + (own.latent.query_rank or 0)
        corrected = (
            keys.get("topk_method") == "noaux_tc" or keys.text("model_type") != "deepseek_v2"
        )
        if corrected and _is_sparse(keys, family, index):
            total += keys.number("n_routed_experts")
    return total + (own.heads if family.sinks else 0)


def _falcon_norms(keys: Keys) -> int:
    """One where attention and feed-forward share it, else two."""
    if keys.flag("new_decoder_architecture", False):
        return keys.number("num_ln_in_parallel_attn", default=2)
    return 1 if keys.flag("parallel_attn", True) else 2


def _kv_heads(keys: Keys, family: Family, heads: int) -> int:
    if family.kind == "gpt2":
        many = keys.text("model_type") == "gpt2" or not keys.flag("multi_query", True)
        return heads if many else 1
    if family.kind == "falcon":
        if keys.flag("new_decoder_architecture", False):
            return keys.number("num_kv_heads", default=heads)
        return 1 if keys.flag("multi_query", True) else heads
    return keys.number("num_key_value_heads", default=heads)


def _latent(keys: Keys, plain: Format) -> tuple[Attention, list[Matrix]]:
    width = keys.number("hidden_size")
    heads = keys.number("num_attention_heads")
    rank = keys.number("kv_lora_rank")
    query_rank = None if keys.get("q_lora_rank") is None else keys.number("q_lora_rank")
    nope, rope = keys.number("qk_nope_head_dim"), keys.number("qk_rope_head_dim")
    value = keys.number("v_head_dim")
    bias = keys.flag("attention_bias", False)
    queries = heads * (nope + rope)

    def matrix(name: str, inputs: int, outputs: int, biased: bool = False) -> Matrix:
        full = f"self_attn.{name}"
        return Matrix(full, inputs, outputs, plain, plain, biased, closes=name == "o_proj")

    found = [matrix("q_proj", width, queries)]
    if query_rank is not None:
        found = [
            matrix("q_a_proj", width, query_rank, bias),
            matrix("q_b_proj", query_rank, queries),
        ]
    found += [
        matrix("kv_a_proj_with_mqa", width, rank + rope, bias),
        matrix("kv_b_proj", rank, heads * (nope + value)),
        matrix("o_proj", heads * value, width, bias),
    ]
    latent = Latent(rank, rope, query_rank)
    return Attention(heads, heads, nope + rope, value, None, latent), found


def _mlp(
    prefix: str,
    width: int,
    inner: int,
    plain: Format,
    bias: bool,
    gated: bool,
    copies: int = 1,
    used: int = 1,
) -> list[Matrix]:
    def matrix(name: str, inputs: int, outputs: int) -> Matrix:
        full = f"{prefix}.{name}_proj"
        closes = name == "down"
        return Matrix(full, inputs, outputs, plain, plain, bias, copies, used, closes)

    found = [matrix("gate", width, inner)] if gated else []
    return [*found, matrix("up", width, inner), matrix("down", inner, width)]


def _is_sparse(keys: Keys, family: Family, index: int) -> bool:
    """Whether layer `index` has experts."""
    if family.experts == "qwen":
        step = keys.number("decoder_sparse_step", default=1)
        return index not in (keys.get("mlp_only_layers") or ()) and (index + 1) % step == 0
    if family.experts == "deepseek":
        if keys.get("n_routed_experts") is None:
            return False
        dense = keys.get("first_k_dense_replace") or 0
        every = keys.number("moe_layer_freq", default=1)
        return index >= int(dense) and index % every == 0
    return True


def _window(keys: Keys, family: Family, index: int) -> int | None:
    """The sliding window of layer `index`; None if it sees all tokens."""
    if keys.get("sliding_window") is None:
        return None
    if family.window == "late" and not keys.flag("use_sliding_window", False):
        return None
    window = keys.number("sliding_window")
    kinds = keys.get("layer_types")
    if kinds:
        if index >= len(kinds):
            raise keys.wrong("layer_types", f"has {len(kinds)} entries, none for layer {index}")
        return window if kinds[index] == "sliding_attention" else None
    if family.window == "even":
        return None if index % 2 else window
    if family.window == "late":
        return window if index >= keys.number("max_window_layers", default=10**9) else None
    if family.window.startswith("but"):
        every = keys.number("sliding_window_pattern", default=int(family.window[4:]))
        return None if (index + 1) % every == 0 else window
    return window
