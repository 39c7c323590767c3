"""A scorer that has learnt which answers are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Sample
from farthing.models.recording import Floats
from farthing.signals.encoder import Encoder, encoder_from_params
from farthing.signals.learning import Classifier, classifier_from_params, learn
from farthing.signals.seen import QUANTILES, Seen, quantile_column
from farthing.signals.signal import Signal

LOOKS = ("prompt", "text", "answer", "earlier", "tokens")
TOKENS = ("mean_logprob", "min_logprob", *map(quantile_column, QUANTILES))


@dataclass(frozen=True, eq=False)
class Learned:
    """The probability that the last model's commonest answer is right, by a classifier.

    Attributes:
        looks: what the classifier looks at: "prompt" and "text", the encoded prompt and output;
            "answer", the answer's length, whether it is a number, whether there is one and its
            share of the samples; "earlier", which earlier models gave it too; "tokens", mean,
            minimum and quantiles of the tokens' log-probabilities and the number of tokens.
        classifier: takes the features of `looks`, in that order, then `signals`.
        signals: others whose values it looks at; one of them at most may be bought.
        encoder: for "prompt" and "text".
    """

    kind: ClassVar[str] = "learned"

    looks: tuple[str, ...]
    classifier: Classifier
    signals: tuple[Signal, ...] = ()
    encoder: Encoder | None = None

    def __post_init__(self) -> None:
        _check(self.looks, self.signals, self.encoder)

    @property
    def logprobs(self) -> bool:
        """Whether any feature needs the tokens' log-probabilities."""
        return "tokens" in self.looks or any(signal.logprobs for signal in self.signals)

    @property
    def bought(self) -> str | None:
        """What its signals buy."""
        return next((s.bought for s in self.signals if s.bought is not None), None)

    def values(self, stages: Sequence[Seen]) -> Floats:
        """Probabilities, shape (n,)."""
        return self.classifier.predict(features(stages, self.looks, self.signals, self.encoder))

    async def buy(
        self,
        seen: Seen,
        samples: Sequence[Sample],
        request: Request,
        operation: Operation,
        node: str,
    ) -> Seen:
        """What its signals buy."""
        for signal in self.signals:
            if signal.bought is not None:
                seen = await signal.buy(seen, samples, request, operation, node)
        return seen

    @classmethod
    def fit(
        cls,
        stages: Sequence[Seen],
        right: Floats,
        looks: Sequence[str],
        *,
        signals: Sequence[Signal] = (),
        encoder: Encoder | None = None,
        classifier: str = "logistic",
        seed: int = 0,
    ) -> tuple[Learned, Floats]:
        """Learn how right the last stage's answers were, 0 to 1, shape (n,).

        With the signal come the scores by which to set thresholds: of each question from what
        was learnt without it. ExtraError if scikit-learn is missing.
        """
        _check(looks, signals, encoder)
        told = features(stages, looks, signals, encoder)
        learnt, scores = learn(told, right, kind=classifier, seed=seed)
        return cls(tuple(looks), learnt, tuple(signals), encoder), scores

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return {
            "looks": list(self.looks),
            "classifier": _told(self.classifier),
            "signals": [_told(signal) for signal in self.signals],
            "encoder": None if self.encoder is None else _told(self.encoder),
        }

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Learned:
        """The signal with these parameters."""
        from farthing.signals.registry import from_params

        params = dict(params)
        encoder = params.pop("encoder", None)
        return cls(
            tuple(params.pop("looks")),
            classifier_from_params(params.pop("classifier")),
            tuple(from_params(signal) for signal in params.pop("signals", ())),
            encoder and encoder_from_params(encoder),
            **params,
        )


def features(
    stages: Sequence[Seen],
    looks: Sequence[str],
    signals: Sequence[Signal] = (),
    encoder: Encoder | None = None,
) -> Floats:
    """What a classifier sees of the last stage's answers, shape (n, d); NaN where unknown."""
    last = stages[-1]
    blocks: list[Floats] = []
    for look in looks:
        if look == "prompt" and encoder is not None:
            blocks.append(last.prompt_vectors(encoder))
        elif look == "text" and encoder is not None:
            blocks.append(last.text_vectors(encoder))
        elif look == "answer":
            blocks.append(_answer(last))
        elif look == "earlier":
            blocks.append(_earlier(stages))
        else:
            blocks.append(_tokens(last))
    for signal in signals:
        values = signal.values(stages)
        blocks.append(np.where(np.isfinite(values), values, np.nan)[:, None])
    return np.concatenate(blocks, axis=1)


def _answer(seen: Seen) -> Floats:
    rows = np.arange(len(seen.answers))
    said = [row[place] for row, place in zip(seen.said, seen.chosen, strict=True)]
    share = seen.votes[rows, seen.chosen] / seen.answers.shape[1]
    return np.column_stack(
        [
            seen.answers[rows, seen.chosen] >= 0,
            share,
            np.log1p([float(len(text)) for text in said]),
            [text[-1:].isdigit() for text in said],
        ]
    ).astype(float)


def _earlier(stages: Sequence[Seen]) -> Floats:
    """For each stage before the share of its samples that give the answer."""
    last = stages[-1]
    answer = np.take_along_axis(last.answers, last.chosen[:, None], 1)
    shares = [((s.answers == answer) & (answer >= 0)).mean(axis=1) for s in stages[:-1]]
    return np.column_stack(shares) if shares else np.zeros((len(answer), 0))


def _tokens(seen: Seen) -> Floats:
    columns = [seen.at_chosen(name) for name in TOKENS]
    return np.column_stack([*columns, np.log1p(seen.at_chosen("output_tokens"))])


def _check(looks: Sequence[str], signals: Sequence[Signal], encoder: Encoder | None) -> None:
    unknown = [look for look in looks if look not in LOOKS]
    if unknown:
        raise ValueError(f"looks are of {', '.join(LOOKS)}, not {unknown[0]!r}")
    if encoder is None and {"prompt", "text"} & set(looks):
        raise ValueError("to look at prompt or text needs an encoder")
    if not looks and not signals:
        raise ValueError("looks or signals must name something to look at")
    if sum(signal.bought is not None for signal in signals) > 1:
        raise ValueError("only one of the signals may be bought")


def _told(part: Any) -> dict[str, Any]:
    return {"kind": part.kind, **part.get_params()}
