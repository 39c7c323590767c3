"""What each sample of a call that returned several would have cost alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from farthing.core.money import Cost
from farthing.core.response import Basis, Response, Sample
from farthing.cost.prices import Price


@dataclass(frozen=True, slots=True)
class SampleShare:
    """A sample's part in a call.

    Attributes:
        output_tokens: generated for this sample, reasoning included; None if unknown.
        cost: what the sample would have cost if it had been asked for alone: the whole prompt
            and its own output. The costs of one call's samples add up to more than the call,
            which is billed for the prompt once. None if unknown.
        basis: "exact" when the model counted this sample's tokens, "estimated" when the
            call's tokens were divided by the lengths of the texts, "unknown".
    """

    output_tokens: int | None
    cost: Cost | None
    basis: Basis


def share(response: Response, price: Price | None) -> tuple[SampleShare, ...]:
    """Each sample's part in `response`, whose cost, if known, is set."""
    usage, samples = response.usage, response.samples
    if len(samples) == 1:
        tokens = usage.output_tokens if usage else samples[0].output_tokens
        return (SampleShare(tokens, response.cost, response.usage_basis),)
    basis = response.usage_basis
    told = [sample.output_tokens for sample in samples]
    outputs: list[int | None] = list(told)
    if usage is None:
        basis = "unknown"
    elif None in told:
        outputs = list(_divide(usage.output_tokens, samples))
        basis = "estimated"
    return tuple(SampleShare(tokens, _alone(response, tokens, price), basis) for tokens in outputs)


def _alone(response: Response, output_tokens: int | None, price: Price | None) -> Cost | None:
    usage = response.usage
    if usage is None or output_tokens is None or price is None:
        return None
    rates = price.rates_for(usage)
    for leaf in ("reasoning", "output_audio"):
        if getattr(usage, leaf) and rates.of(leaf)[0] != rates.output:
            return None  # how much of it was in this sample is not told
    if price.per_second:
        return None  # what of the time was this sample's is not told
    if response.billed_calls:
        return None  # nor which sample made the calls
    return rates.cost(replace(usage, output=output_tokens, reasoning=0, output_audio=0))


def _divide(tokens: int, samples: Sequence[Sample]) -> list[int]:
    """`tokens` in proportion to the lengths of the texts; the parts add up to the whole."""
    lengths = [len(sample.text) + 1 for sample in samples]
    whole, ends, length = sum(lengths), [0], 0
    for part in lengths:
        length += part
        ends.append(tokens * length // whole)
    return [end - start for start, end in pairwise(ends)]
