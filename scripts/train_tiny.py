#!/usr/bin/env python
"""Train the tiny models that ship with Farthing, or verify that they rebuild.

A run is fixed by its seed and its number of steps, not by seconds; with the torch version named
in MANIFEST.json and the same kind of processor it gives the same weights bit for bit. Elsewhere
float32 sums may round otherwise and the weights differ; `--verify` then compares accuracies.

    python scripts/train_tiny.py --size all --out build/tiny
    python scripts/train_tiny.py --size all --verify
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import platform
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from safetensors.numpy import save_file
from scipy.stats import rankdata

from farthing.models.tiny import MAX_STEPS, OPERATORS, _tokens, problem, solve
from farthing.models.tiny._engine import Cache, Weights
from farthing.models.tiny.model import WEIGHTS

CONTEXT = 32
ROPE_THETA = 100.0
NORM_EPS = 1e-5
WARM_UP = 100
LEAST_RATE = 0.02
WEIGHT_DECAY = 0.01
CLIP = 1.0
IGNORE = -100
PROBLEMS = 1000
MEASURE_SEED = 20_000
CLOSE = 0.12
FIRST_DIGIT, FIRST_OPERATOR = (
    _tokens.FIRST + _tokens.CHARACTERS.index(character) for character in ("0", OPERATORS[0])
)


@dataclass(frozen=True)
class Recipe:
    """What makes one model: its shape, its training, its seed.

    `curriculum` is the share of the steps over which the longest chain grows from one step to
    six; 0 means none.
    """

    width: int
    feed_forward: int
    heads: int
    layers: int
    rate: float
    batch: int
    steps: int
    curriculum: float
    seed: int


RECIPES = {
    "small": Recipe(16, 44, 2, 2, 8e-3, 128, 1800, 0.4, 0),
    "mid": Recipe(48, 128, 4, 2, 2.1e-3, 64, 1100, 0.4, 0),
    "large": Recipe(96, 256, 4, 2, 1e-3, 64, 910, 0.4, 0),
}


class Block(torch.nn.Module):
    """One Llama block: attention with RoPE, then SwiGLU, each after an RMSNorm."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        width, forward = recipe.width, recipe.feed_forward
        self.heads = recipe.heads
        self.qkv = _matrix(3 * width, width, width)
        self.out = _matrix(width, width, width)
        self.gate_up = _matrix(2 * forward, width, width)
        self.down = _matrix(width, forward, width)
        self.norm_attention = torch.nn.Parameter(torch.ones(width))
        self.norm_forward = torch.nn.Parameter(torch.ones(width))

    def forward(
        self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        batch, length, width = x.shape
        head = width // self.heads
        y = F.rms_norm(x, (width,), self.norm_attention, NORM_EPS)
        parts = F.linear(y, self.qkv).view(batch, length, 3, self.heads, head)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        q, k = (_rotate(part, cos, sin) for part in (q, k))
        scores = q @ k.transpose(-1, -2) * head**-0.5 + mask
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, width)
        x = x + F.linear(mixed, self.out)
        y = F.rms_norm(x, (width,), self.norm_forward, NORM_EPS)
        gate, up = F.linear(y, self.gate_up).chunk(2, -1)
        return x + F.linear(F.silu(gate) * up, self.down)


class Llama(torch.nn.Module):
    """The whole model; `tensors` gives its weights under Hugging Face's names."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        width, head = recipe.width, recipe.width // recipe.heads
        self.embedding = _matrix(_tokens.VOCABULARY, width, width)
        self.head = _matrix(_tokens.VOCABULARY, width, width)
        self.norm = torch.nn.Parameter(torch.ones(width))
        self.blocks = torch.nn.ModuleList(Block(recipe) for _ in range(recipe.layers))
        frequencies = ROPE_THETA ** (-torch.arange(0, head, 2) / head)
        angles = torch.outer(torch.arange(CONTEXT).float(), frequencies.repeat(2))
        self.cos, self.sin = angles.cos(), angles.sin()
        self.mask = torch.full((CONTEXT, CONTEXT), -math.inf).triu(1)

    def forward(self, tokens: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """Logits at the `wanted` places (a mask of the shape of `tokens`)."""
        length = tokens.shape[1]
        x = self.embedding[tokens]
        for block in self.blocks:
            x = block(x, self.cos[:length], self.sin[:length], self.mask[:length, :length])
        x = F.rms_norm(x[wanted], self.norm.shape, self.norm, NORM_EPS)
        return F.linear(x, self.head)

    def tensors(self) -> dict[str, np.ndarray]:
        """The weights in fp16."""
        named = {
            "model.embed_tokens.weight": self.embedding,
            "model.norm.weight": self.norm,
            "lm_head.weight": self.head,
        }
        for index, block in enumerate(self.blocks):
            prefix = f"model.layers.{index}."
            query, key, value = block.qkv.chunk(3)
            gate, up = block.gate_up.chunk(2)
            named |= {
                prefix + "input_layernorm.weight": block.norm_attention,
                prefix + "post_attention_layernorm.weight": block.norm_forward,
                prefix + "self_attn.q_proj.weight": query,
                prefix + "self_attn.k_proj.weight": key,
                prefix + "self_attn.v_proj.weight": value,
                prefix + "self_attn.o_proj.weight": block.out,
                prefix + "mlp.gate_proj.weight": gate,
                prefix + "mlp.up_proj.weight": up,
                prefix + "mlp.down_proj.weight": block.down,
            }
        return {
            name: np.ascontiguousarray(tensor.detach().to(torch.float16).numpy())
            for name, tensor in named.items()
        }


def _matrix(rows: int, columns: int, width: int) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.randn(rows, columns) * width**-0.5)


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


def draw(rng: np.random.Generator, count: int, longest: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`count` random chains of 1 to `longest` steps: tokens, and what should follow each.

    Both have shape (count, tokens of the longest, without its EOS); the targets are IGNORE
    before the working and after its end.
    """
    steps = rng.integers(1, longest + 1, count)
    most = int(steps.max())
    digits = rng.integers(10, size=(count, most + 1))
    operators = rng.integers(len(OPERATORS), size=(count, most))
    tokens = np.full((count, 3 * most + 4), _tokens.PAD)
    targets = np.full_like(tokens, IGNORE)
    tokens[:, 0] = _tokens.BOS
    rows = np.arange(count)
    equals = 2 * steps + 2
    tokens[rows, equals] = _tokens.EQUALS
    value = digits[:, 0]
    tokens[rows, equals - 1] = FIRST_DIGIT + value
    for step in range(most):
        operand = digits[:, step + 1]
        value = np.choose(operators[:, step], (value + operand, value - operand, value * operand))
        value %= 10
        on = rows[steps > step]
        place = equals[on] - 2 * step - 3
        tokens[on, place] = FIRST_OPERATOR + operators[on, step]
        tokens[on, place + 1] = FIRST_DIGIT + operand[on]
        targets[on, equals[on] + step] = FIRST_DIGIT + value[on]
        tokens[on, equals[on] + step + 1] = FIRST_DIGIT + value[on]
    targets[rows, equals + steps] = _tokens.EOS
    return torch.from_numpy(tokens[:, :-1]), torch.from_numpy(targets[:, :-1])


def train(name: str, recipe: Recipe, progress: Progress) -> dict[str, np.ndarray]:
    """Train one model; its weights in fp16 by Hugging Face's names."""
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    model = Llama(recipe)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    norms = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": norms, "weight_decay": 0}],
        lr=recipe.rate,
        betas=(0.9, 0.98),
    )
    task = progress.add_task(name, total=recipe.steps, loss="")
    for step in range(recipe.steps):
        done = step / recipe.steps
        longest = MAX_STEPS
        if recipe.curriculum:
            longest = min(MAX_STEPS, 1 + int(MAX_STEPS * done / recipe.curriculum))
        cosine = LEAST_RATE + (1 - LEAST_RATE) * (1 + math.cos(math.pi * done)) / 2
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * min(1, (step + 1) / WARM_UP) * cosine
        tokens, targets = draw(rng, recipe.batch, longest)
        wanted = targets != IGNORE
        loss = F.cross_entropy(model(tokens, wanted), targets[wanted])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        if step % 20 == 0:
            progress.update(task, loss=f"loss {loss.item():.3f}")
        progress.advance(task)
    return model.tensors()


def config(recipe: Recipe) -> dict[str, object]:
    """The Hugging Face LlamaConfig, with RoPE's base as transformers 4 and 5 want it."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": _tokens.VOCABULARY,
        "hidden_size": recipe.width,
        "intermediate_size": recipe.feed_forward,
        "num_hidden_layers": recipe.layers,
        "num_attention_heads": recipe.heads,
        "num_key_value_heads": recipe.heads,
        "head_dim": recipe.width // recipe.heads,
        "hidden_act": "silu",
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": NORM_EPS,
        "rope_theta": ROPE_THETA,
        "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_THETA},
        "tie_word_embeddings": False,
        "pad_token_id": _tokens.PAD,
        "bos_token_id": _tokens.BOS,
        "eos_token_id": _tokens.EOS,
        "torch_dtype": "float16",
    }


@dataclass(frozen=True)
class Measured:
    """What a model does on fresh problems, greedily.

    Attributes:
        accuracy: share of right answers, chain lengths 1 to 6 equally often.
        accuracy_by_steps: the same for each length.
        auroc: of the smallest token probability of an answer, for its being right.
        problems: how many there were.
    """

    accuracy: float
    accuracy_by_steps: list[float]
    auroc: float
    problems: int


def measure(folder: Path) -> Measured:
    """Run the numpy engine on `PROBLEMS` fresh problems a chain length."""
    weights = Weights.load(folder)
    rng = np.random.default_rng(MEASURE_SEED)
    right, confidence = [], []
    for steps in range(1, MAX_STEPS + 1):
        chains = [problem(rng, steps) for _ in range(PROBLEMS)]
        answers = np.array([solve(chain)[-1] for chain in chains]) + FIRST_DIGIT
        cache = Cache.empty(weights.shape, PROBLEMS)
        tokens = np.array([_tokens.encode(chain) for chain in chains])
        running = np.ones(PROBLEMS, np.bool_)
        last = np.zeros(PROBLEMS, np.int64)
        least = np.ones(PROBLEMS)
        for _ in range(MAX_STEPS + 2):
            logits = weights.forward(cache, tokens, last=True)[:, 0].astype(np.float64)
            chosen = logits.argmax(-1)
            likely = 1 / np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)
            least = np.where(running, np.minimum(least, likely), least)
            running &= chosen != _tokens.EOS
            last = np.where(running, chosen, last)
            tokens = chosen[:, None]
        right.append((last == answers) & ~running)
        confidence.append(least)
    by_steps = [float(part.mean()) for part in right]
    return Measured(
        round(float(np.mean(by_steps)), 4),
        [round(share, 4) for share in by_steps],
        round(auroc(np.concatenate(confidence), np.concatenate(right)), 4),
        MAX_STEPS * PROBLEMS,
    )


def auroc(score: np.ndarray, right: np.ndarray) -> float:
    """Chance that a right answer scores above a wrong one, ties counting half; NaN if one kind."""
    wins = rankdata(score)[right].sum() - right.sum() * (right.sum() + 1) / 2
    pairs = right.sum() * (~right).sum()
    return float(wins / pairs) if pairs else math.nan


def build(sizes: list[str], out: Path, console: Console) -> dict[str, dict[str, object]]:
    """Train `sizes` into `out`; the manifest's entry of each."""
    entries: dict[str, dict[str, object]] = {}
    columns = (
        TextColumn("{task.description:>5}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    for size in sizes:
        recipe = RECIPES[size]
        began = time.process_time()
        with Progress(*columns, console=console) as progress:
            tensors = train(size, recipe, progress)
        seconds = time.process_time() - began
        folder = out / size
        folder.mkdir(parents=True, exist_ok=True)
        weights = folder / "model.safetensors"
        save_file(tensors, weights, metadata={"format": "pt"})
        weights.chmod(0o644)
        (folder / "config.json").write_text(json.dumps(config(recipe), indent=2) + "\n")
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        entries[size] = {
            "sha256": digest,
            "recipe": asdict(recipe),
            "parameters": sum(tensor.size for tensor in tensors.values()),
            "measured": asdict(measure(folder)),
        }
        console.print(f"{size}: {seconds:.0f} CPU seconds, sha256 {digest[:12]}")
    return entries


def report(entries: dict[str, dict[str, object]], console: Console) -> None:
    """Print what was measured."""
    table = Table("size", "parameters", "accuracy", *"123456", "AUROC", box=None)
    for size, entry in entries.items():
        measured = entry["measured"]
        assert isinstance(measured, dict)
        numbers = (measured["accuracy"], *measured["accuracy_by_steps"], measured["auroc"])
        table.add_row(size, f"{entry['parameters']:,}", *(f"{number:.3f}" for number in numbers))
    console.print(table)


def verify(built: dict[str, dict[str, object]], manifest: Path, console: Console) -> bool:
    """Compare rebuilt models with the manifest: same bytes, or an accuracy close to it."""
    shipped = json.loads(manifest.read_text())
    good = True
    for size, entry in built.items():
        known = shipped["sizes"][size]
        if entry["sha256"] == known["sha256"]:
            console.print(f"{size}: the same weights, bit for bit")
            continue
        measured = entry["measured"]
        assert isinstance(measured, dict)
        apart = abs(measured["accuracy"] - known["measured"]["accuracy"])
        close = apart <= CLOSE
        good &= close
        console.print(
            f"{size}: other weights (built with torch {shipped['torch']} on {shipped['machine']}, "
            f"this is {torch.__version__} on {platform.machine()}), accuracy {apart:.3f} "
            f"{'away' if close else f'away: more than {CLOSE}'}"
        )
    return good


def main() -> int:
    """Train, report, and write or verify; 1 when a verification fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=[*RECIPES, "all"], default="all")
    parser.add_argument("--out", type=Path, help="folder to write; the package's own by default")
    parser.add_argument("--verify", action="store_true", help="rebuild and compare, write nothing")
    arguments = parser.parse_args()
    console = Console()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    sizes = list(RECIPES) if arguments.size == "all" else [arguments.size]
    if arguments.verify:
        with tempfile.TemporaryDirectory() as folder:
            entries = build(sizes, Path(folder), console)
        report(entries, console)
        return 0 if verify(entries, WEIGHTS / "MANIFEST.json", console) else 1
    out = arguments.out or WEIGHTS
    entries = build(sizes, out, console)
    report(entries, console)
    path = out / "MANIFEST.json"
    known = json.loads(path.read_text())["sizes"] if path.exists() else {}
    known |= entries
    manifest = {
        "task": "chains of + - * on digits, modulo 10, left to right, 1 to 6 steps",
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "sizes": {size: known[size] for size in RECIPES if size in known},
    }
    path.write_text(json.dumps(manifest, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
