"""How weights are stored: bits, scales, and what the products are computed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from farthing.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Format:
    """How the numbers of a matrix are stored.

    Attributes:
        name: as people call it.
        bits: of a number.
        compute: the type that products are computed in, as device cards name it.
        group: inputs that share a scale; None for no scales, 0 for one a matrix.
        outputs: outputs that share a scale.
        scale_bits: of a scale.
        zero_bits: of a group's zero point.
        index_bits: of an input's group number, where the file holds one (GPTQ).
    """

    name: str
    bits: int
    compute: str
    group: int | None = None
    outputs: int = 1
    scale_bits: int = 0
    zero_bits: int = 0
    index_bits: int = 0

    def nbytes(self, inputs: int, outputs: int) -> int:
        """Bytes of a matrix of so many inputs and outputs, its scales included."""
        bits = self.bits * inputs * outputs
        if self.group is not None:
            groups = 1
            if self.group:
                groups = -(-inputs // self.group) * -(-outputs // self.outputs)
            bits += groups * (self.scale_bits + self.zero_bits) + self.index_bits * inputs
        return -(-bits // 8)


FORMATS = {
    "float32": Format("float32", 32, "fp32"),
    "float16": Format("float16", 16, "fp16"),
    "bfloat16": Format("bfloat16", 16, "bf16"),
    "fp8": Format("fp8", 8, "fp8", 0, scale_bits=32),
    "int8": Format("int8", 8, "int8", 2**62, scale_bits=32),
    "int4": Format("int4", 4, "bf16", 128, scale_bits=16, zero_bits=4),
    "mxfp4": Format("mxfp4", 4, "bf16", 32, scale_bits=8),
}
"""Formats by the name that `--weights` takes. `int8` has a scale for each output, `int4` a scale
and a zero point for each 128 inputs, as AWQ has."""


def quantisation(config: Mapping[str, Any], path: str) -> Format | None:
    """The format that a config.json's `quantization_config` states; None if it has none.

    Raises ConfigError for one that is not known.
    """
    stated = config.get("quantization_config")
    if stated is None:
        return None
    method = str(stated.get("quant_method", "")).lower()
    if method in ("gptq", "awq"):
        bits = int(stated.get("bits", 4))
        group = int(stated.get("group_size", 128))
        index = 32 if method == "gptq" else 0
        return Format(f"{method} {bits} bit", bits, "bf16", _group(group), 1, 16, bits, index)
    if method == "fp8":
        if block := stated.get("weight_block_size"):
            return Format("fp8 in blocks", 8, "fp8", int(block[1]), int(block[0]), 32)
        return FORMATS["fp8"]
    if method == "mxfp4":
        return FORMATS["mxfp4"]
    if method == "bitsandbytes":
        if stated.get("load_in_4bit"):
            kind = str(stated.get("bnb_4bit_quant_type", "fp4"))
            nested = bool(stated.get("bnb_4bit_use_double_quant"))
            return Format(f"bitsandbytes {kind}", 4, "bf16", 64, 1, 8 if nested else 32)
        return FORMATS["int8"]
    raise ConfigError(
        f"weights quantised by {method!r} are not known: gptq, awq, fp8, mxfp4 and bitsandbytes "
        "are; --weights says how they are stored",
        path=path,
        key="quantization_config.quant_method",
    )


def _group(stated: int) -> int:
    """-1 is a group of all inputs."""
    return stated if stated > 0 else 2**62
