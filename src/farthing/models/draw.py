"""One fixed draw of samples per question and model: results depend on data and seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from farthing.core.errors import DataError
from farthing.core.money import PICO_PER_USD
from farthing.models.arrow import pa, pc
from farthing.models.recording import Floats, Ints, Recording

LOGPROBS = ("mean_logprob", "min_logprob")


@dataclass(frozen=True, slots=True)
class Draw:
    """The samples that a cascade over `models` would see, in the order in which it sees them.

    Attributes:
        recording: where they come from; every question has every model.
        models: in the cascade's order.
        samples: how many of each model.
        rows: for each model the drawn rows of `recording.table`, shape (questions, samples).
        answers: for each model the answers as codes, equal for equal answers, -1 for null,
            shape (questions, samples).
        cost: for each model what each sample costs asked alone, in picodollars.
        left_out: questions left out because a model has no rows for them.
    """

    recording: Recording
    models: tuple[str, ...]
    samples: tuple[int, ...]
    rows: tuple[Ints, ...]
    answers: tuple[Ints, ...]
    cost: tuple[Ints, ...]
    left_out: int

    @property
    def questions(self) -> int:
        """How many questions there are."""
        return len(self.recording.questions)

    def index(self, model: str) -> int:
        """The place of `model` among the models; DataError that lists them if it is not there."""
        if model not in self.models:
            known = ", ".join(self.models)
            raise DataError(f"{self.recording.path}: {model!r} was not drawn; {known} were")
        return self.models.index(model)

    def column(self, name: str, model: int) -> Floats:
        """A numeric column at the drawn rows of a model, NaN for null."""
        return self.recording.floats(name)[self.rows[model]]

    def correct(self, model: int) -> Floats:
        """0 to 1 for each drawn sample, NaN where it is not known.

        From the column `correct`, else from equality of `answer` and `reference`.
        """
        names = self.recording.table.column_names
        if "correct" in names and self.recording.table["correct"].null_count < len(
            self.recording.table
        ):
            return self.column("correct", model)
        if "reference" not in names:
            return np.full(self.rows[model].shape, np.nan)
        table = self.recording.table.take(pa.array(self.rows[model].ravel()))
        reference = table["reference"].cast(pa.string())
        same = pc.equal(table["answer"].cast(pa.string()), reference).fill_null(False)
        values = same.cast(pa.float64()).to_numpy()
        known = pc.is_valid(reference).to_numpy()
        return np.where(known, values, np.nan).reshape(self.rows[model].shape)

    def select(self, questions: Ints) -> Draw:
        """The same draw for some of the questions, by index in ascending order."""
        recording = self.recording.select(questions)
        wanted = np.asarray(questions)
        rows = []
        for model, old in zip(self.models, self.rows, strict=True):
            index = self.recording.model_index(model)
            moved = recording.start[index, :-1] - self.recording.start[index, wanted]
            rows.append(old[wanted] + moved[:, None])
        return replace(
            self,
            recording=recording,
            rows=tuple(rows),
            answers=tuple(a[wanted] for a in self.answers),
            cost=tuple(c[wanted] for c in self.cost),
        )

    def only(self, models: Sequence[int], samples: Sequence[int]) -> Draw:
        """The draw of some models, by index, with the first so many samples of each."""
        cuts = list(zip(models, samples, strict=True))
        return replace(
            self,
            models=tuple(self.models[m] for m in models),
            samples=tuple(min(count, self.samples[m]) for m, count in cuts),
            rows=tuple(self.rows[m][:, :count] for m, count in cuts),
            answers=tuple(self.answers[m][:, :count] for m, count in cuts),
            cost=tuple(self.cost[m][:, :count] for m, count in cuts),
        )

    def input_cost(self, model: int) -> Ints:
        """What the prompt alone cost, in picodollars, shape (questions, samples).

        The model's prices are recovered from its rows: cost must be an exact linear function of
        the token counts, and one only. DataError where it is not, or where counts are missing.
        """
        name, path = self.models[model], self.recording.path
        help_ = "; plan with --sampling calls, which needs no prices"
        names = self.recording.table.column_names
        absent = [c for c in ("input_tokens", "output_tokens") if c not in names]
        if absent:
            raise DataError(
                f"{path}: sampling 'n' bills the prompt once; it needs {', '.join(absent)}{help_}"
            )
        tokens_in = self.column("input_tokens", model)
        tokens_out = self.column("output_tokens", model)
        cached = np.zeros_like(tokens_in)
        if "cached_tokens" in self.recording.table.column_names:
            cached = np.nan_to_num(self.column("cached_tokens", model))
        if np.isnan(tokens_in).any() or np.isnan(tokens_out).any():
            raise DataError(f"{path}: model {name!r} has rows without token counts{help_}")
        features = np.stack([tokens_in - cached, cached, tokens_out], axis=-1).reshape(-1, 3)
        cost = self.cost[model].ravel().astype(float)
        rates, _, rank, _ = np.linalg.lstsq(features, cost, rcond=None)
        error = np.abs(features @ rates - cost).max()
        many = rank < features.any(axis=0).sum()  # such as of prompts and answers of one length
        if many or error > 1e-6 * max(cost.max(), 1.0) + 1.0 or (rates < -1e-3).any():
            raise DataError(
                f"{path}: the recorded costs of model {name!r} do not follow from its token counts "
                f"by fixed prices, so the prompt's share of them is unknown{help_}"
            )
        input_cost: Ints = np.rint(features[:, :2] @ rates[:2]).astype(np.int64)
        return np.minimum(input_cost.reshape(tokens_in.shape), self.cost[model])


def cost_column(recording: Recording, name: str) -> str | None:
    """The column that holds what a column's values cost: `conf_cost_usd` for `conf_raw`."""
    names = recording.table.column_names
    for column in (f"{name}_cost_usd", f"{name.split('_')[0]}_cost_usd"):
        if column in names and name not in LOGPROBS:
            return column
    return None


def bought_cost(draw: Draw, model: int, name: str, place: Ints) -> Ints:
    """Picodollars that a column's value at one sample of each question cost, shape (questions,).

    Zero where the recording tells no cost of the column; DataError where it lacks some.
    """
    column = cost_column(draw.recording, name)
    if column is None:
        return np.zeros(draw.questions, np.int64)
    paid = np.take_along_axis(draw.column(column, model), place[:, None], 1)[:, 0]
    if np.isnan(paid).any():
        raise DataError(
            f"{draw.recording.path}: {column} of model {draw.models[model]!r} is null in "
            f"{int(np.isnan(paid).sum())} rows"
        )
    return np.rint(paid * PICO_PER_USD).astype(np.int64)


def draw(
    recording: Recording, models: Sequence[str], samples: int | Sequence[int], seed: int = 0
) -> Draw:
    """Draw up to `samples` answers of each model to each question, without replacement.

    A model with fewer samples for some question gets that fewer number everywhere. Questions
    that lack a model altogether are left out.

    Raises DataError for unknown or repeated models, for costs that are missing, NaN or
    negative, and for a model without a single readable answer.
    """
    wanted = [samples] * len(models) if isinstance(samples, int) else list(samples)
    if len(wanted) != len(models):
        raise DataError(f"{len(wanted)} numbers of samples for {len(models)} models")
    if len(set(models)) != len(models):
        raise DataError(f"a model is named twice: {', '.join(models)}")
    if min(wanted) < 1:
        raise DataError("the number of samples must be at least 1")
    indices = [recording.model_index(model) for model in models]
    present = np.all([recording.counts(model) > 0 for model in models], axis=0)
    left_out = int((~present).sum())
    if left_out == len(present):
        raise DataError(f"{recording.path}: no question was answered by all of {', '.join(models)}")
    if left_out:
        recording = recording.select(np.flatnonzero(present))
    encoded = recording.column("answer").cast(pa.string()).combine_chunks().dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    usd = recording.floats("cost_usd")
    keys = np.random.default_rng(seed).random(recording.table.num_rows)
    rows, answers, costs, taken = [], [], [], []
    for model, index, want in zip(models, indices, wanted, strict=True):
        counts = recording.counts(model)
        take = min(want, int(counts.min()))
        first, last = recording.start[index, 0], recording.start[index, -1]
        question = np.repeat(np.arange(len(counts)), counts)
        order = np.lexsort((keys[first:last], question)) + first
        picked = order[(recording.start[index, :-1] - first)[:, None] + np.arange(take)]
        _check(recording, model, picked, usd, codes)
        rows.append(picked)
        answers.append(codes[picked])
        costs.append(np.rint(usd[picked] * PICO_PER_USD).astype(np.int64))
        taken.append(take)
    return Draw(
        recording,
        tuple(models),
        tuple(taken),
        tuple(rows),
        tuple(answers),
        tuple(costs),
        left_out,
    )


def _check(recording: Recording, model: str, rows: Ints, usd: Floats, codes: Ints) -> None:
    bad = ~np.isfinite(usd[rows]) | (usd[rows] < 0)
    if bad.any():
        row = int(rows[bad][0])
        question = recording.table["question"][row].as_py()
        value = usd[row]
        what = "unknown (null or NaN)" if np.isnan(value) else f"{value}"
        raise DataError(
            f"{recording.path}: cost_usd of model {model!r} is {what} in {int(bad.sum())} of "
            f"{bad.size} samples, first at question {question!r}; a plan on costs needs them all"
        )
    if (codes[rows] < 0).all():
        raise DataError(
            f"{recording.path}: model {model!r} has no readable answer to any question; "
            "leave it out, or record it again with a fitting way of reading answers"
        )
