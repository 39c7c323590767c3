"""All that is told of a model on a device, as plain values for JSON and for tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from farthing.core.errors import DataError
from farthing.core.money import Cost
from farthing.cost.runtime.longcontext import long_context
from farthing.cost.runtime.own import own_price
from farthing.cost.runtime.roofline import Server, Step


def sheet(
    server: Server,
    input: int,
    output: int,
    batches: Sequence[int],
    *,
    hour: Cost | None = None,
    utilisation: float = 1.0,
) -> dict[str, Any]:
    """What requests of so many tokens need and cost, a row for each batch size.

    Bytes, FLOPs and parameters are counted, seconds and money modelled. What is unknown is None.
    Raises DataError for numbers that cannot be, and for more tokens than the context window.
    """
    if input < 1 or output < 1:
        raise DataError(f"cannot answer {input} tokens with {output}: want 1 or more of each")
    window = server.model.positions
    if window is not None and input + output > window:
        raise DataError(
            f"{input} + {output} tokens are more than the context window of {window} "
            f"(max_position_embeddings)"
        )
    at_length = long_context(server, input, output)
    return {
        "model": _model(server),
        "device": _device(server),
        "input": input,
        "output": output,
        "batches": [_row(server, input, output, n, hour, utilisation) for n in batches],
        "long_context": {
            "users": at_length.users,
            "kv_bytes_per_user": at_length.kv_bytes,
            "prefill_s": at_length.prefill_s,
            "decode_s": at_length.decode_s,
            "context_switch_s": at_length.switch_s,
        },
    }


def _model(server: Server) -> dict[str, Any]:
    model = server.model
    formats = sorted({matrix.format.name for matrix in model.matrices()})
    return {
        "name": model.name,
        "family": model.family,
        "parameters": model.parameters,
        "active_parameters": model.active_parameters,
        "layers": len(model.layers),
        "weights": formats,
        "weight_bytes": model.weight_bytes,
        "kv_bits": model.kv_bits,
        "kv_bytes_per_token": model.kv_bytes_per_token,
        "notes": list(model.notes),
    }


def _device(server: Server) -> dict[str, Any]:
    device = server.device
    rate, kind = device.rate(server.model.compute)
    return {
        "title": device.title,
        "devices": server.devices,
        "basis": device.basis,
        "computes_in": kind,
        "peak_flops_per_s": rate,
        "peak_bytes_per_s": device.bandwidth,
        "compute_share": device.reached[0],
        "bandwidth_share": device.reached[1],
        "ridge_flops_per_byte": server.flops_per_s / server.bytes_per_s,
        "memory_bytes": server.memory,
    }


def _row(
    server: Server, input: int, output: int, batch: int, hour: Cost | None, utilisation: float
) -> dict[str, Any]:
    price = own_price(server, input, output, batch, hour=hour, utilisation=utilisation)
    prefill = server.prefill(input, batch)
    last = server.decode(input + max(1, output - 1), batch)
    writing = server.decoding(input, output, batch)
    fits = prefill.fits and last.fits
    return {
        "batch": batch,
        "fits": fits,
        "prefill": _step(prefill),
        "decode_first": _step(server.decode(input + 1, batch)),
        "decode_last": _step(last),
        "request_s": prefill.seconds + writing,
        "output_tokens_per_s": batch * (output - 1) / writing if writing else None,
        "usd_per_million_input": str(price.input) if price and fits else None,
        "usd_per_million_output": _told(price.output) if price and fits else None,
        "usd_per_request": str(price.request) if price and fits else None,
    }


def _step(step: Step) -> dict[str, Any]:
    work = step.work
    return {
        "flops": work.flops,
        "attention_flops": work.attention,
        "weight_bytes": work.weight_bytes,
        "kv_read_bytes": work.kv_read_bytes,
        "kv_written_bytes": work.kv_written_bytes,
        "flops_per_byte": work.intensity,
        "peak_bytes": step.peak.total,
        "kv_bytes": step.peak.kv,
        "activation_bytes": step.peak.activations,
        "compute_s": step.compute_s,
        "memory_s": step.memory_s,
        "seconds": step.seconds,
        "binds": step.binds,
    }


def _told(cost: Cost | None) -> str | None:
    return None if cost is None else str(cost)
