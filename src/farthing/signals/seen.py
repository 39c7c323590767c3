"""What a signal sees: one model's samples to one question, or to many at once.

Live requests and recordings are seen through the same class, so that a signal is one function: on
a recording it is called once for all questions, live for one.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from farthing.core.errors import DataError
from farthing.core.response import Sample
from farthing.models.arrow import pa
from farthing.models.draw import Draw
from farthing.models.recording import Floats, Ints
from farthing.signals.encoder import Encoder

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
OWN = ("mean_logprob", "min_logprob", "output_tokens")


class Codes(dict[str, int]):
    """Answers of one request as numbers: equal for equal answers, -1 for none."""

    def of(self, answer: str | None) -> int:
        """The number of `answer`, a new one if it was not seen before."""
        return -1 if answer is None else self.setdefault(answer, len(self))


@dataclass(frozen=True, eq=False)
class Seen:
    """One model's samples to n questions.

    Attributes:
        model: its name.
        prompts: what was asked, n of them.
        answers: codes of the answers, shape (n, samples); -1 for none. Equal answers of other
            models to the same question have the same code.
        columns: numbers known of each sample, shape (n, samples), NaN where unknown:
            `mean_logprob`, `min_logprob`, `output_tokens`, `logprob_q10` to `logprob_q90` where
            tokens are known, and a recording's own.
        texts: the verbatim outputs, n lists of them.
        said: the final answers, n lists of them; empty where there is none.
    """

    model: str
    prompts: Sequence[str]
    answers: Ints
    columns: Mapping[str, Floats] = field(default_factory=dict)
    texts: Sequence[Sequence[str]] = ()
    said: Sequence[Sequence[str]] = ()

    @cached_property
    def votes(self) -> Ints:
        """For each sample how many give its answer, shape (n, samples); 0 for no answer."""
        same = self.answers[:, :, None] == self.answers[:, None, :]
        counts: Ints = np.where(self.answers >= 0, same.sum(axis=2), 0)
        return counts

    @cached_property
    def chosen(self) -> Ints:
        """Which sample gives the commonest answer first, shape (n,)."""
        if self.answers.shape[1] == 1:
            return np.zeros(len(self.answers), np.int64)
        place: Ints = self.votes.argmax(axis=1)
        return place

    def at_chosen(self, name: str) -> Floats:
        """A column at the chosen samples, shape (n,); NaN where it is not known at all."""
        if name not in self.columns:
            return np.full(len(self.answers), np.nan)
        told = self.columns[name]
        if told.shape[1] == 1:
            return told[:, 0]
        values: Floats = np.take_along_axis(told, self.chosen[:, None], 1)[:, 0]
        return values

    def required(self, name: str, values: Floats, hint: str = "") -> Floats:
        """`values` of the column `name`; DataError where several questions have none at all."""
        if len(values) > 1 and np.isnan(values).all():
            raise DataError(f"model {self.model!r} has no value of {name!r} at all{hint}")
        return values

    def with_column(self, name: str, value: float) -> Seen:
        """The same with one value in a column for all samples; NaN if it is not known."""
        column = {name: np.full(self.answers.shape, value)}
        return replace(self, columns=ChainMap(column, self.columns))  # type: ignore[arg-type]

    @property
    def chosen_texts(self) -> list[str]:
        """The outputs of the chosen samples."""
        return [texts[place] for texts, place in zip(self.texts, self.chosen, strict=True)]

    def prompt_vectors(self, encoder: Encoder) -> Floats:
        """The encoded prompts, shape (n, dimensions); those of a draw are encoded once."""
        if isinstance(self.prompts, Prompts):
            return _encoded(self.prompts.vectors, encoder, self.prompts)
        return encoder.encode(self.prompts)

    def text_vectors(self, encoder: Encoder) -> Floats:
        """The encoded outputs of the chosen samples, shape (n, dimensions)."""
        return _encoded(self._vectors, encoder, self.chosen_texts)

    @cached_property
    def _vectors(self) -> dict[Encoder, Floats]:
        return {}


def _encoded(kept: dict[Encoder, Floats], encoder: Encoder, texts: Sequence[str]) -> Floats:
    if encoder not in kept:
        kept[encoder] = encoder.encode(texts)
    return kept[encoder]


def of_draw(draw: Draw, model: int, samples: int, prompts: Sequence[str] | None = None) -> Seen:
    """The first `samples` drawn answers of a model to every question of a draw."""
    rows = draw.rows[model][:, :samples]
    return Seen(
        draw.models[model],
        Prompts(draw) if prompts is None else prompts,
        draw.answers[model][:, :samples],
        _Columns(draw, rows),
        _Texts(draw, rows, "text" if "text" in draw.recording.table.column_names else "answer"),
        _Texts(draw, rows, "answer"),
    )


def of_samples(model: str, prompt: str, samples: Sequence[Sample], codes: Codes) -> Seen:
    """Samples of one live request; `codes` is shared by all its models."""
    return Seen(
        model,
        [prompt],
        np.array([[codes.of(sample.answer) for sample in samples]]),
        _OfSamples(samples),
        [[sample.text for sample in samples]],
        [[sample.answer or "" for sample in samples]],
    )


def quantile_column(quantile: float) -> str:
    """The column that holds a quantile of the tokens' log-probabilities."""
    return f"logprob_q{round(quantile * 100):02d}"


def _number(sample: Sample, name: str) -> float:
    value = getattr(sample, name) if name in OWN else sample.columns.get(name)
    return float("nan") if value is None else float(value)


def _quantiles(sample: Sample) -> Floats:
    if not sample.tokens:
        return np.full(len(QUANTILES), np.nan)
    values: Floats = np.quantile([logprob for _, logprob in sample.tokens], QUANTILES)
    return values


class Prompts(Sequence[str]):
    """The prompts of a draw, read when first asked for; the question where none is recorded."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self.vectors: dict[Encoder, Floats] = {}

    @cached_property
    def _texts(self) -> list[str]:
        recording = self._draw.recording
        if "prompt" not in recording.table.column_names:
            return list(recording.questions)
        column = recording.table["prompt"].take(pa.array(self._draw.rows[0][:, 0]))
        pairs = zip(column.to_pylist(), recording.questions, strict=True)
        return [question if prompt is None else str(prompt) for prompt, question in pairs]

    def __len__(self) -> int:
        return self._draw.questions

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._texts[index]


class _Texts(Sequence[Sequence[str]]):
    """A column of texts of a draw, read when first asked for."""

    def __init__(self, draw: Draw, rows: Ints, name: str) -> None:
        self._draw, self._rows, self._name = draw, rows, name

    @cached_property
    def _texts(self) -> list[list[str]]:
        column = self._draw.recording.table[self._name].cast(pa.string())
        flat = column.take(pa.array(self._rows.ravel())).to_pylist()
        width = self._rows.shape[1]
        return [
            [text or "" for text in flat[begin : begin + width]]
            for begin in range(0, len(flat), width)
        ]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._texts[index]


class _Columns(Mapping[str, Floats]):
    """The numeric columns of a recording at some rows, read when first asked for."""

    def __init__(self, draw: Draw, rows: Ints) -> None:
        self._draw, self._rows = draw, rows
        self._names = [
            name
            for name in draw.recording.table.column_names
            if pa.types.is_floating(kind := draw.recording.table[name].type)
            or pa.types.is_integer(kind)
        ]
        self._read: dict[str, Floats] = {}

    def __getitem__(self, name: str) -> Floats:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._read:
            self._read[name] = self._draw.recording.floats(name)[self._rows]
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _OfSamples(Mapping[str, Floats]):
    """The columns of live samples, made when asked for."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    @cached_property
    def _names(self) -> dict[str, None]:
        names = dict.fromkeys((*OWN, *(name for s in self._samples for name in s.columns)))
        if any(sample.tokens for sample in self._samples):
            names |= dict.fromkeys(map(quantile_column, QUANTILES))
        return names

    @cached_property
    def _of_tokens(self) -> dict[str, Floats]:
        rows = np.array([_quantiles(sample) for sample in self._samples])
        return {quantile_column(q): rows[None, :, place] for place, q in enumerate(QUANTILES)}

    def __getitem__(self, name: str) -> Floats:
        if name not in self._names:
            raise KeyError(name)
        if name.startswith("logprob_q") and not any(name in s.columns for s in self._samples):
            return self._of_tokens[name]
        return np.array([[_number(sample, name) for sample in self._samples]], float)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
