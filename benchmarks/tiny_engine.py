"""Tokens per second of the tiny engine beside transformers, on the same weights in the same run.

`python benchmarks/tiny_engine.py` works chains of six steps at temperature 1: one sample at a
time, and 64 samples of one prompt, which is read once. Beside it is what `transformers` makes of
the shipped weights, by its `generate` and by a bare loop of forward passes over its cache, with
which the engine's forward passes have to be compared. Runs alternate; the best of each counts.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import torch
import transformers
from _common import environment, markdown

from farthing.core.request import Request
from farthing.models.tiny import MAX_STEPS, TINY_SIZES, TinyModel, load, problem
from farthing.models.tiny.model import WEIGHTS

NEW_TOKENS = MAX_STEPS
Run = Callable[[list[str], int], int]


def ours(model: TinyModel) -> Run:
    """Requests to the model, one after another."""

    async def ask(chains: list[str], n: int) -> int:
        tokens = 0
        for seed, chain in enumerate(chains):
            request = Request.ask(chain, n=n, temperature=1.0, seed=seed, max_tokens=NEW_TOKENS)
            usage = (await model.complete(request)).usage
            assert usage is not None
            tokens += usage.output
        return tokens

    return lambda chains, n: asyncio.run(ask(chains, n))


def generated(model: TinyModel, theirs: Any) -> Run:
    """`generate`, which stops at the end token too."""

    def run(chains: list[str], n: int) -> int:
        tokens = 0
        for chain in chains:
            prompt = torch.tensor([model.encode(chain)])
            out = theirs.generate(
                prompt, attention_mask=torch.ones_like(prompt), do_sample=True, top_k=0,
                max_new_tokens=NEW_TOKENS, num_return_sequences=n,
            )  # fmt: skip
            new = out[:, prompt.shape[1] :]
            tokens += int((new != theirs.config.pad_token_id).sum())
        return tokens

    return run


def looped(model: TinyModel, theirs: Any) -> Run:
    """A loop of forward passes: the prompt is read once, and nothing is checked between."""

    def run(chains: list[str], n: int) -> int:
        for chain in chains:
            said = theirs(torch.tensor([model.encode(chain)]), use_cache=True)
            cache, logits = said.past_key_values, said.logits[:, -1]
            if n > 1:
                cache.batch_repeat_interleave(n)
                logits = logits.expand(n, -1)
            for place in range(NEW_TOKENS):
                chosen = torch.multinomial(logits.softmax(-1), 1)
                if place + 1 < NEW_TOKENS:
                    said = theirs(chosen, past_key_values=cache, use_cache=True)
                    logits = said.logits[:, -1]
        return len(chains) * n * NEW_TOKENS

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=40, help="at batch 1; a fifth at batch 64")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(environment())
    print(
        f"torch {torch.__version__}, transformers {transformers.__version__}, "
        f"{given.threads} threads; tokens per second, best of {given.repeats}"
    )
    rng = np.random.default_rng(0)
    chains = [problem(rng, MAX_STEPS) for _ in range(given.prompts)]
    rows = []
    for size in TINY_SIZES:
        model = load(size)
        theirs = transformers.LlamaForCausalLM.from_pretrained(
            WEIGHTS / size, dtype=torch.float32, local_files_only=True
        ).eval()
        runs: list[Run] = [ours(model), generated(model, theirs), looped(model, theirs)]
        for n in (1, 64):
            asked = chains if n == 1 else chains[: max(1, given.prompts // 5)]
            best = [0.0] * len(runs)
            with torch.no_grad():
                for _ in range(given.repeats):
                    for place, run in enumerate(runs):
                        begun = perf_counter()
                        tokens = run(asked, n)
                        best[place] = max(best[place], tokens / (perf_counter() - begun))
            mine, generate, loop = best
            rows.append(
                [size, str(n), f"{mine:,.0f}", f"{generate:,.0f}", f"{loop:,.0f}",
                 f"{mine / generate:.1f}", f"{mine / loop:.1f}"]
            )  # fmt: skip
    print(
        markdown(
            ["model", "samples", "farthing", "generate", "bare loop", "to generate", "to the loop"],
            rows,
        )
    )


if __name__ == "__main__":
    main()
