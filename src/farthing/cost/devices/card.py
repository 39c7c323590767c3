"""The card of a device."""

from __future__ import annotations

from typing import Literal

import msgspec

from farthing.core.errors import DataError
from farthing.core.money import Cost

Basis = Literal["published", "measured", "estimated"]

FALLBACKS = {
    "fp4": "fp8",
    "fp8": "bf16",
    "int8": "bf16",
    "bf16": "fp16",
    "fp16": "fp32",
    "tf32": "fp32",
}
"""The wider type that stands in for one; bfloat16 does for float16 too."""

PUBLISHED_COMPUTE, PUBLISHED_BANDWIDTH = 0.7, 0.8


class HourlyPrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an hour of a device costs.

    Attributes:
        usd_per_hour: a decimal.
        basis: how that is known.
        source, date: from where and as of when.
    """

    usd_per_hour: str
    basis: Basis
    source: str
    date: str

    @property
    def cost(self) -> Cost:
        """Of an hour, exact; MoneyError if it is no amount."""
        return Cost.from_usd(self.usd_per_hour)


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a machine can do. All rates are peaks: nothing runs faster.

    Attributes:
        title: its name in words.
        kind: "gpu", "tpu", "soc" or "cpu".
        basis: how the figures are known.
        source, date: from where and as of when.
        memory: bytes.
        bandwidth: bytes a second between memory and cores.
        flops: dense FLOP/s of matrix products by type: fp32, tf32, bf16, fp16, fp8, int8, fp4.
        link: bytes a second from the host's memory, one way; None if unknown or none.
        watts: drawn at full load; None if unknown.
        price: of an hour; None if unknown.
        compute_share, bandwidth_share: of the peaks, what a good server reaches. None: 0.7 and
            0.8 of published or estimated peaks (our assumption), all of measured ones.
        notes: what to know of the figures.
    """

    title: str
    kind: Literal["gpu", "tpu", "soc", "cpu"]
    basis: Basis
    source: str
    date: str
    memory: float
    bandwidth: float
    flops: dict[str, float]
    link: float | None = None
    watts: float | None = None
    price: HourlyPrice | None = None
    compute_share: float | None = None
    bandwidth_share: float | None = None
    notes: str = ""

    def __post_init__(self) -> None:
        """TypeError, which msgspec tells with the key, for what cannot be."""
        given = {"memory": self.memory, "bandwidth": self.bandwidth}
        given |= {f"flops.{name}": rate for name, rate in self.flops.items()}
        given |= {"link": self.link or 1, "watts": self.watts or 1}
        for name, value in given.items():
            if not 0 < value < float("inf"):
                raise ValueError(f"{name} must be above zero, not {value}")
        for name, share in (
            ("compute_share", self.compute_share),
            ("bandwidth_share", self.bandwidth_share),
        ):
            if share is not None and not 0 < share <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, not {share}")
        if not self.flops:
            raise ValueError("flops must have the rate of one type at least")

    def rate(self, kind: str) -> tuple[float, str]:
        """Peak FLOP/s for products in a type, and the type that they are computed in.

        That is a wider one where the device has no rate for it, or a better one. DataError if it
        computes neither it nor what stands in for it.
        """
        chain = [kind]
        while chain[-1] in FALLBACKS:
            chain.append(FALLBACKS[chain[-1]])
        if kind == "fp16":
            chain.insert(1, "bf16")
        have = [name for name in chain if name in self.flops]
        if not have:
            raise DataError(f"{self.title} has no rate for {kind}: it has {', '.join(self.flops)}")
        best = max(have, key=lambda name: self.flops[name])
        return self.flops[best], best

    @property
    def reached(self) -> tuple[float, float]:
        """The shares of peak FLOP/s and of bandwidth that are reckoned with."""
        compute, bandwidth = PUBLISHED_COMPUTE, PUBLISHED_BANDWIDTH
        if self.basis == "measured":
            compute = bandwidth = 1.0
        return self.compute_share or compute, self.bandwidth_share or bandwidth
