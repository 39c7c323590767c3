"""Reading a Hugging Face config.json into an architecture."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from farthing.core.errors import ConfigError
from farthing.cost.architecture._blocks import attention, feed_forward, norms
from farthing.cost.architecture._keys import Keys
from farthing.cost.architecture.families import FAMILIES
from farthing.cost.architecture.formats import FORMATS, Format, quantisation
from farthing.cost.architecture.shapes import Architecture, Layer, Matrix

_FLOATS = {"float32": "float32", "float16": "float16", "bfloat16": "bfloat16"}
_MTP = "the layers that predict further tokens (num_nextn_predict_layers) are left out"
_TEXT = "only the language model is counted (text_config), no vision or audio tower"


def load(path: Path, *, weights: str | None = None, kv_bits: int | None = None) -> Architecture:
    """The architecture of a config.json, or of a folder that has one.

    Args:
        path: the file or the folder.
        weights: a name in `FORMATS` that the layers' matrices are stored in, instead of what
            the file says; the embedding, the head, routers and norms stay as they are.
        kv_bits: of a number in the cache; None for those of the file's dtype.

    Raises:
        ConfigError: for a file that cannot be read, a family that is not known, or a key that
            is missing or no such number, with the file and the key.
    """
    file = path / "config.json" if path.is_dir() else path
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror or error}", path=str(file)) from error
    except ValueError as error:
        line = getattr(error, "lineno", None)
        raise ConfigError(f"no JSON: {error}", path=str(file), line=line) from error
    if not isinstance(config, dict):
        raise ConfigError("no JSON object", path=str(file))
    return read(config, path=str(file), weights=weights, kv_bits=kv_bits)


def read(
    config: Mapping[str, Any],
    *,
    path: str = "config.json",
    weights: str | None = None,
    kv_bits: int | None = None,
) -> Architecture:
    """The architecture of a config.json's content; see `load`. `path` is named in errors."""
    notes: list[str] = []
    quantised = quantisation(config, path)
    name = str(config.get("_name_or_path") or Path(path).resolve().parent.name or path)
    whole = config
    if isinstance(config.get("text_config"), Mapping):
        config = config["text_config"]
        notes.append(_TEXT)
        quantised = quantised or quantisation(config, path)
    keys = Keys(config, path)
    kind = keys.text("model_type")
    family = FAMILIES.get(kind)
    if family is None:
        raise ConfigError(
            f"models of type {kind!r} are not known; known: {', '.join(sorted(FAMILIES))}",
            path=path,
            key="model_type",
        )
    if keys.get("num_nextn_predict_layers"):
        notes.append(_MTP)
    plain = _plain({**whole, **config}, path)
    if weights is not None:
        if weights not in FORMATS:
            raise ConfigError(f"no format {weights!r}: there are {', '.join(FORMATS)}")
        quantised = FORMATS[weights]
    width = keys.number("hidden_size", "n_embd")
    vocabulary = keys.number("vocab_size")
    count = keys.number("num_hidden_layers", "n_layer")
    skipped = () if weights else _skipped(whole)
    layers = []
    for index in range(count):
        own, projections = attention(keys, family, index, plain)
        forward = feed_forward(keys, family, index, plain)
        layers.append(
            Layer(
                own,
                tuple(_stored(m, index, quantised, skipped) for m in projections),
                tuple(_stored(m, index, quantised, skipped) for m in forward),
                norms(keys, family, index, own),
                parallel=family.kind == "falcon" and keys.flag("parallel_attn", True),
            )
        )
    gpt2 = family.kind == "gpt2"
    positions = keys.get("max_position_embeddings", "n_positions")
    learned = keys.number("n_positions", "max_position_embeddings") * width if gpt2 else 0
    biased = family.kind in ("gpt2", "falcon")
    tied = keys.get("tie_word_embeddings")
    return Architecture(
        name=name,
        family=kind,
        width=width,
        vocabulary=vocabulary,
        layers=tuple(layers),
        head=Matrix("lm_head", width, vocabulary, plain, plain),
        tied=family.tied if tied is None else bool(tied),
        embedded=vocabulary * width + learned,
        others=2 * width if biased else width,
        positions=None if positions is None else int(positions),
        plain=plain,
        kv_bits=plain.bits if kv_bits is None else kv_bits,
        notes=tuple(notes),
    )


def _plain(config: Mapping[str, Any], path: str) -> Format:
    stated = config.get("torch_dtype") or config.get("dtype") or "bfloat16"
    name = str(stated).removeprefix("torch.")
    if name not in _FLOATS:
        raise ConfigError(f"no dtype {stated!r}: {', '.join(_FLOATS)}", path=path, key="dtype")
    return FORMATS[name]


def _skipped(config: Mapping[str, Any]) -> tuple[re.Pattern[str], ...]:
    """What `quantization_config` leaves as it is, as patterns of matrices' full names."""
    stated = config.get("quantization_config") or {}
    names = stated.get("modules_to_not_convert") or stated.get("ignored_layers") or ()
    return tuple(re.compile(re.escape(str(n)).replace(r"\*", r"\d+") + r"(\.|$)") for n in names)


def _stored(
    matrix: Matrix, index: int, quantised: Format | None, skipped: tuple[re.Pattern[str], ...]
) -> Matrix:
    """The matrix in the quantised format, unless it is a router or left out."""
    if quantised is None or matrix.name in ("mlp.gate", "mlp.shared_expert_gate"):
        return matrix
    if quantised.name == "mxfp4" and matrix.copies == 1 and skipped:
        return matrix
    full = f"model.layers.{index}.{matrix.name}"
    if any(pattern.search(full) for pattern in skipped):
        return matrix
    return replace(matrix, format=quantised)
