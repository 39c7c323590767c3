"""What encoders of texts have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from farthing.models.recording import Floats

OVERSAMPLING = 10
ITERATIONS = 4
LONGEST = 16_000


def single(values: Any) -> Floats:
    """An array in single precision, which is what plans keep of what was learnt."""
    narrow: Floats = np.asarray(values, np.float32)
    return narrow


def beginning_and_end(text: str) -> str:
    """What encoders read of a text: all of it, if it has at most `LONGEST` characters."""
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]} {text[-half:]}"


def unit(vectors: Floats) -> Floats:
    """The vectors with length one, shape (n, dimensions); zero stays zero."""
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    scaled: Floats = vectors / np.where(lengths > 1e-12, lengths, 1.0)
    return scaled


def principal(matrix: Any, most: int, seed: int) -> Floats:
    """The right singular vectors of the greatest singular values, shape (at most `most`, width).

    Source: randomised decomposition (Halko, Martinsson & Tropp, 2011), with power iterations.
    """
    count = min(most, *matrix.shape)
    draws = min(count + OVERSAMPLING, *matrix.shape)
    basis = np.random.default_rng(seed).normal(size=(matrix.shape[1], draws))
    for _ in range(ITERATIONS):
        basis, _ = np.linalg.qr(matrix.T @ np.linalg.qr(matrix @ basis)[0])
    left, _ = np.linalg.qr(matrix @ basis)
    _, sizes, vectors = np.linalg.svd((matrix.T @ left).T, full_matrices=False)
    known = max(1, int((sizes[:count] > 1e-6 * max(sizes[0], 1e-6)).sum()))
    kept: Floats = vectors[:known]
    return kept
