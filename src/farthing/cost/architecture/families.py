"""What a config.json leaves to its `model_type`: biases, norms, windows, experts."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Family:
    """What models of one `model_type` have in common.

    Attributes:
        kind: how its config.json names things: "llama", "latent", "gpt2" or "falcon".
        bias: of queries, keys and values, where the file does not say.
        out_bias: of the attention's output: None as `bias`.
        mlp_bias: of the feed-forward matrices, where the file does not say.
        gated: whether the feed-forward has a gate.
        head: numbers a head where the file does not say; None for width / heads.
        norms: of the width, in a layer.
        head_norms: norms of queries and keys: "" none, "head" by head, "all" over all heads.
        tied: whether the embeddings are tied, where the file does not say.
        window: which layers have the sliding window, where the file gives no `layer_types`:
            "all", "even" (the first and every other), "late" (from `max_window_layers` on, if
            `use_sliding_window`), or "but N" (all but each N-th).
        experts: how the mixture of experts is named: "", "mixtral", "qwen" or "deepseek" (also
            for Granite's names).
        expert_bias: whether router and experts have biases.
        shared_gate: whether the shared expert has a gate of its own.
        sinks: whether each head has an attention sink.
    """

    kind: str = "llama"
    bias: bool = False
    out_bias: bool | None = None
    mlp_bias: bool = False
    gated: bool = True
    head: int | None = None
    norms: int = 2
    head_norms: str = ""
    tied: bool = False
    window: str = "all"
    experts: str = ""
    expert_bias: bool = False
    shared_gate: bool = False
    sinks: bool = False


_LLAMA = Family()
_QWEN2 = Family(bias=True, out_bias=False, window="late")
_QWEN3 = Family(head=128, head_norms="head", window="late")
_GEMMA = Family(head=256, tied=True)
_GPT2 = Family(kind="gpt2", bias=True, mlp_bias=True, gated=False, tied=True)
_LATENT = Family(kind="latent", experts="deepseek")

FAMILIES = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "granite": _LLAMA,
    "phi3": _LLAMA,
    "smollm3": replace(_LLAMA, tied=True),
    "olmo2": replace(_LLAMA, head_norms="all"),
    "qwen2": _QWEN2,
    "qwen3": _QWEN3,
    "gemma": _GEMMA,
    "gemma2": replace(_GEMMA, norms=4, window="even"),
    "gemma3_text": replace(_GEMMA, norms=4, head_norms="head", window="but 6"),
    "mixtral": replace(_LLAMA, experts="mixtral"),
    "qwen2_moe": replace(_QWEN2, experts="qwen", shared_gate=True),
    "qwen3_moe": replace(_QWEN3, head=None, experts="qwen"),
    "gpt_oss": Family(
        bias=True, head=64, window="even", experts="mixtral", expert_bias=True, sinks=True
    ),
    "deepseek_v2": _LATENT,
    "deepseek_v3": _LATENT,
    "kimi_k2": _LATENT,
    "gpt2": _GPT2,
    "gpt_bigcode": _GPT2,
    "falcon": Family(kind="falcon", gated=False, tied=True),
}
"""By `model_type`. `deepseek_v3` has a correction bias in its routers; see `reading`."""
