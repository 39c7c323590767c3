"""How far are the times of `farthing card` from those of a real model on this machine?

`python benchmarks/roofline.py [--on cpu|cuda]` measures the device's card, builds a Llama of random
weights with transformers, times prefill and decode at several batch sizes (the best of several
runs), and prints them beside the roofline of the measured card, with an overhead of zero. Needs
the extra `local`. On a machine that others use, times and card are taken at different moments:
trust orders of magnitude.
"""

from __future__ import annotations

import argparse
from typing import Any

from _common import environment, markdown

from farthing.cost.architecture import read
from farthing.cost.devices import measuring
from farthing.cost.runtime import Server

SHAPES: dict[str, dict[str, Any]] = {
    "60M": {
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": 16000,
    },
    "1B": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
    },
}
COLUMNS = ("batch", "pass", "predicted ms", "measured ms", "measured / predicted", "binds")


def main() -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--on", choices=["cpu", "cuda"])
    parser.add_argument("--shape", choices=sorted(SHAPES), default="60M")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--input", type=int, default=128)
    parser.add_argument("--batches", default="1,4,16")
    parser.add_argument("--seconds", type=float, default=2.0)
    asked = parser.parse_args()
    card = measuring.measure(asked.on, seconds=asked.seconds)
    where = "cpu" if card.kind == "cpu" else "cuda"
    shape = SHAPES[asked.shape] | {"tie_word_embeddings": True}
    server = Server(read(shape | {"model_type": "llama", "torch_dtype": asked.dtype}), card)
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**shape)).to(where, getattr(torch, asked.dtype)).eval()
    rows = []
    with torch.inference_mode():
        for batch in (int(n) for n in asked.batches.split(",")):
            tokens = torch.randint(0, shape["vocab_size"], (batch, asked.input), device=where)

            def prefill(tokens: Any = tokens) -> Any:
                made = model(tokens, use_cache=True, logits_to_keep=1)
                if where == "cuda":
                    torch.cuda.synchronize()
                return made

            cache = prefill().past_key_values

            def decode(tokens: Any = tokens, cache: Any = cache) -> None:
                model(tokens[:, :1], past_key_values=cache, use_cache=True)
                cache.crop(-1)
                if where == "cuda":
                    torch.cuda.synchronize()

            for name, run, step in (
                ("prefill", prefill, server.prefill(asked.input, batch)),
                ("decode", decode, server.decode(asked.input + 1, batch)),
            ):
                took = measuring.best(run, asked.seconds)
                rows.append(
                    (
                        str(batch),
                        name,
                        f"{step.seconds * 1e3:.2f}",
                        f"{took * 1e3:.2f}",
                        f"{took / step.seconds:.2f}",
                        step.binds,
                    )
                )
    rates = ", ".join(f"{rate / 1e9:.4g} GFLOP/s in {kind}" for kind, rate in card.flops.items())
    print(environment())
    print(f"\n{card.title}: {rates}, {card.bandwidth / 1e9:.4g} GB/s; {asked.shape} parameters,")
    print(f"{asked.dtype}, prompts of {asked.input} tokens, torch {torch.__version__}\n")
    print(markdown(COLUMNS, rows))


if __name__ == "__main__":
    main()
