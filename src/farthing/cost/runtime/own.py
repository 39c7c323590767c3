"""What tokens cost on hardware of one's own, so that it compares with an API's prices."""

from __future__ import annotations

from dataclasses import dataclass

from farthing.core.errors import DataError
from farthing.core.money import Cost
from farthing.cost.runtime.roofline import Server


@dataclass(frozen=True, slots=True)
class OwnPrice:
    """Costs of tokens, from the price of an hour and modelled times.

    Attributes:
        input: of a million prompt tokens.
        output: of a million written tokens after the first, which the prefill gives; None for
            answers of one token.
        request: of one request, prefill and decode together.
        utilisation: the share of paid hours in which the server is busy.
    """

    input: Cost
    output: Cost | None
    request: Cost
    utilisation: float


def own_price(
    server: Server,
    input: int,
    output: int,
    batch: int,
    *,
    hour: Cost | None = None,
    utilisation: float = 1.0,
) -> OwnPrice | None:
    """What tokens cost when `batch` such requests run together; None if no hour has a price.

    Args:
        server: what runs where.
        input, output: tokens of a request, at least 1 each.
        batch: requests that are decoded together. Prompts are read one at a time.
        hour: of one device; by default what its card says.
        utilisation: busy share of the hours that are paid, above 0 and at most 1.

    Raises:
        DataError: for numbers that cannot be.
    """
    if min(input, output, batch) < 1 or not 0 < utilisation <= 1:
        raise DataError(
            f"cannot price {input} and {output} tokens in batches of {batch} at {utilisation} busy"
        )
    if hour is None:
        if server.device.price is None:
            return None
        hour = server.device.price.cost
    if hour.pico < 0:
        raise DataError(f"an hour cannot cost {hour} USD")
    second = hour.pico * server.devices / 3600 / utilisation
    reading = second * server.prefill(input).seconds
    writing = second * server.decoding(input, output, batch) / batch
    return OwnPrice(
        input=Cost(round(reading / input * 10**6)),
        output=Cost(round(writing / (output - 1) * 10**6)) if output > 1 else None,
        request=Cost(round(reading + writing)),
        utilisation=utilisation,
    )
