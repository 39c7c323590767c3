"""Configurations of published models: the values that decide their counts, and the counts."""

from __future__ import annotations

from typing import Any, NamedTuple


class Published(NamedTuple):
    """What is published of a model; None where nothing is."""

    config: dict[str, Any]
    parameters: float
    active: float | None
    kv_bytes_per_token: int | None


LLAMA_8B: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}

MIXTRAL: dict[str, Any] = {
    "model_type": "mixtral",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "sliding_window": None,
    "vocab_size": 32000,
    "torch_dtype": "bfloat16",
}

DEEPSEEK_V3: dict[str, Any] = {
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "moe_layer_freq": 1,
    "topk_method": "noaux_tc",
    "num_nextn_predict_layers": 1,
    "vocab_size": 129280,
    "max_position_embeddings": 163840,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "quantization_config": {
        "quant_method": "fp8",
        "weight_block_size": [128, 128],
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
    },
}

QWEN3_8B: dict[str, Any] = {
    "model_type": "qwen3",
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "use_sliding_window": False,
    "sliding_window": None,
    "max_window_layers": 36,
    "vocab_size": 151936,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}

QWEN3_30B: dict[str, Any] = {
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "sliding_window": None,
    "vocab_size": 151936,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}

PUBLISHED = {
    "Llama-3.1-8B": Published(LLAMA_8B, 8_030_261_248, None, 131_072),
    "Llama-3.1-70B": Published(
        LLAMA_8B
        | {
            "hidden_size": 8192,
            "intermediate_size": 28672,
            "num_hidden_layers": 80,
            "num_attention_heads": 64,
        },
        70_553_706_496,
        None,
        327_680,
    ),
    "Llama-3.1-405B": Published(
        LLAMA_8B
        | {
            "hidden_size": 16384,
            "intermediate_size": 53248,
            "num_hidden_layers": 126,
            "num_attention_heads": 128,
        },
        405_853_388_800,
        None,
        516_096,
    ),
    "Mixtral-8x7B": Published(MIXTRAL, 46_702_792_704, 12.9e9, 131_072),
    "DeepSeek-V3": Published(DEEPSEEK_V3, 671e9, None, 70_272),
    "Qwen3-8B": Published(QWEN3_8B, 8_190_735_360, None, None),
    "Qwen3-30B-A3B": Published(QWEN3_30B, 30_532_122_624, 3.3e9, None),
    "Qwen3-235B-A22B": Published(
        QWEN3_30B
        | {
            "hidden_size": 4096,
            "intermediate_size": 12288,
            "moe_intermediate_size": 1536,
            "num_hidden_layers": 94,
            "num_attention_heads": 64,
        },
        235_093_634_560,
        22e9,
        None,
    ),
}
"""Parameters: of the checkpoints where they tell (whole numbers), else as announced. KV bytes in
bfloat16: Insights into DeepSeek-V3 (2025), table 1, in kilobytes of 1000; the others follow from
it by their published shapes."""

_SMALL: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
_LATENT = _SMALL | {
    "num_key_value_heads": 4,
    "kv_lora_rank": 12,
    "q_lora_rank": 20,
    "qk_nope_head_dim": 6,
    "qk_rope_head_dim": 4,
    "v_head_dim": 7,
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 10,
    "first_k_dense_replace": 1,
    "n_group": 2,
    "topk_group": 1,
}
_GPT2 = {
    "vocab_size": 97,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 64,
}
_EXPERTS = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 12}

SMALL: dict[str, dict[str, Any]] = {
    "llama": _SMALL | {"model_type": "llama", "tie_word_embeddings": False},
    "llama with biases, tied": _SMALL
    | {
        "model_type": "llama",
        "attention_bias": True,
        "mlp_bias": True,
        "tie_word_embeddings": True,
    },
    "mistral with a window": _SMALL | {"model_type": "mistral", "sliding_window": 5},
    "qwen2": _SMALL | {"model_type": "qwen2"},
    "qwen3": _SMALL | {"model_type": "qwen3", "head_dim": 10},
    "gemma": _SMALL | {"model_type": "gemma", "head_dim": 10},
    "gemma2": _SMALL | {"model_type": "gemma2", "head_dim": 10, "sliding_window": 5},
    "gemma3": _SMALL | {"model_type": "gemma3_text", "head_dim": 10, "sliding_window": 5},
    "phi3": _SMALL | {"model_type": "phi3", "pad_token_id": 0},
    "olmo2": _SMALL | {"model_type": "olmo2"},
    "smollm3": _SMALL | {"model_type": "smollm3", "pad_token_id": 0},
    "granite": _SMALL | {"model_type": "granite"},
    "mixtral": _SMALL | {"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": _SMALL
    | _EXPERTS
    | {"model_type": "qwen2_moe", "shared_expert_intermediate_size": 14, "mlp_only_layers": [1]},
    "qwen3_moe": _SMALL | _EXPERTS | {"model_type": "qwen3_moe", "decoder_sparse_step": 2},
    "gpt_oss": _SMALL
    | {
        "model_type": "gpt_oss",
        "head_dim": 8,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": 5,
    },
    "deepseek_v2": _LATENT | {"model_type": "deepseek_v2", "q_lora_rank": None},
    "deepseek_v3": _LATENT | {"model_type": "deepseek_v3"},
    "gpt2": _GPT2 | {"model_type": "gpt2"},
    "gpt_bigcode (MQA)": _GPT2 | {"model_type": "gpt_bigcode", "n_inner": 50},
    "falcon (MQA)": {
        "model_type": "falcon",
        "vocab_size": 97,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "multi_query": True,
        "parallel_attn": True,
        "bias": False,
    },
    "falcon (new)": {
        "model_type": "falcon",
        "vocab_size": 97,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "new_decoder_architecture": True,
        "num_kv_heads": 2,
        "bias": True,
    },
}
"""One small configuration of each family, odd in its sizes."""
