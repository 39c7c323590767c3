"""Recordings made up for tests; the answers are drawn at random under a seed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from farthing.models.recording import Recording, from_table


def table(
    questions: int = 40,
    models: int = 3,
    samples: int = 5,
    seed: int = 0,
    *,
    answers: int = 4,
    null: float = 0.05,
) -> pa.Table:
    """Stronger models are right more often, more sure of themselves, and cost more."""
    rng = np.random.default_rng(seed)
    hard = rng.random(questions)
    rows = []
    for question in range(questions):
        prompt_tokens = int(rng.integers(20, 60))
        for model in range(models):
            skill = 0.35 + 0.6 * (model + 1) / models
            for sample in range(samples):
                right = rng.random() < np.clip(skill + 0.5 - hard[question], 0.05, 0.98)
                answer: str | None = "0" if right else str(rng.integers(1, answers))
                if rng.random() < null:
                    answer = None
                output = int(rng.integers(5, 40))
                rows.append(
                    {
                        "question": f"q{question:04d}",
                        "task": "made-up",
                        "prompt": f"What is {question}?",
                        "reference": "0",
                        "model": f"m{model}",
                        "sample": sample,
                        "answer": answer,
                        "correct": float(answer == "0"),
                        "input_tokens": prompt_tokens,
                        "output_tokens": output,
                        "cost_usd": (prompt_tokens * 1 + output * 4) * 10.0**model * 1e-7,
                        "latency_s": 0.1 * (model + 1),
                        "min_logprob": float(-rng.exponential(1.0 if right else 2.0)),
                        "mean_logprob": float(-rng.exponential(0.5)),
                        "conf_raw": float(rng.normal(1.0 if right else 0.0)),
                        "conf_cost_usd": output * 10.0**model * 1e-7,
                    }
                )
    return pa.Table.from_pylist(rows)


def recording(*args: object, **settings: object) -> Recording:
    """`table` as a recording."""
    return from_table(table(*args, **settings), "made-up")  # type: ignore[arg-type]
