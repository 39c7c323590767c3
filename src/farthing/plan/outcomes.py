"""What every stage of a cascade would do with every question, as arrays.

This is the fast twin of `policies.cascade`: a property test holds the two equal row by row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from farthing.core.errors import DataError
from farthing.models.draw import LOGPROBS, Draw, bought_cost, cost_column
from farthing.models.recording import Floats, Ints
from farthing.policies.cascade import VOTING

Bools = NDArray[np.bool_]
Sampling = Literal["calls", "n"]


@dataclass(frozen=True, slots=True)
class Gate:
    """A stage that may accept or pass up, for each question.

    Attributes:
        rank: how many of `thresholds` the signal reaches, shape (questions,). The question is
            accepted at `thresholds[t]` when its rank exceeds t.
        thresholds: the values at which the gate can be set, ascending.
        cost: picodollars spent in the stage, shape (thresholds, questions) where it depends on
            the threshold (sampling stops early), else (1, questions).
        calls: how many calls that is, of the same shape.
        regret: whether the answer differs from the strongest model's, shape (questions,).
        correct: 0 to 1, NaN where unknown.
    """

    rank: Ints
    thresholds: Floats
    cost: Ints
    calls: Ints
    regret: Bools
    correct: Floats


@dataclass(frozen=True, slots=True)
class End:
    """The stage that accepts whatever comes: cost, calls, regret and correctness per question."""

    cost: Ints
    calls: Ints
    regret: Bools
    correct: Floats


@dataclass(frozen=True, slots=True)
class Walk:
    """How far each question came along a sequence.

    Attributes:
        cost: picodollars of all stages asked, shape (questions,).
        calls: how many calls that is, shape (questions,).
        stage: which stage answered, shape (questions,).
    """

    cost: Ints
    calls: Ints
    stage: Ints


@dataclass(frozen=True, slots=True)
class Sequence:
    """Models asked in turn (by index into the draw's models): gates, then an end."""

    models: tuple[int, ...]
    gates: tuple[Gate, ...]
    end: End

    def walk(self, thresholds: Iterable[float]) -> Walk:
        """Every question along the sequence; `thresholds` are those of the gates."""
        n = len(self.end.cost)
        cost, calls = np.zeros(n, np.int64), np.zeros(n, np.int64)
        stage, alive = np.full(n, len(self.gates)), np.ones(n, np.bool_)
        for place, (gate, threshold) in enumerate(zip(self.gates, thresholds, strict=True)):
            level = int(np.searchsorted(gate.thresholds, threshold))
            row = min(level, len(gate.cost) - 1)
            cost += np.where(alive, gate.cost[row], 0)
            calls += np.where(alive, gate.calls[row], 0)
            accepted = alive & (gate.rank > level)
            stage[accepted] = place
            alive &= ~accepted
        cost += np.where(alive, self.end.cost, 0)
        calls += np.where(alive, self.end.calls, 0)
        return Walk(cost, calls, stage)


class Outcomes:
    """Tables of all sequences of models over one draw, made when asked for and kept."""

    def __init__(self, draw: Draw, signal: str = "agreement", sampling: Sampling = "calls") -> None:
        """Raises DataError when the recording lacks what the signal or the sampling needs."""
        self.draw, self.signal, self.sampling = draw, signal, sampling
        self.voting = signal in VOTING
        self.questions = draw.questions
        self._votes = [_Votes(answers) for answers in draw.answers]
        self._answer = [votes.final_winner() for votes in self._votes]
        self._correct = [draw.correct(model) for model in range(len(draw.models))]
        self._calls = [np.cumsum(cost, axis=1) for cost in draw.cost]
        self._once: list[Ints | None] = [None] * len(draw.models)
        self.signal_cost_column = None if self.voting else cost_column(draw.recording, signal)
        self._kept: dict[tuple[int, ...], Sequence] = {}
        self._ends: dict[int, End] = {}
        self._gates: dict[int, Gate] = {}
        if not self.voting:
            draw.recording.floats(signal)

    @property
    def strongest(self) -> int:
        """The index of the model with which regret compares: the last."""
        return len(self.draw.models) - 1

    def sequence(self, models: tuple[int, ...]) -> Sequence:
        """The tables of the models asked in this order; the last of them accepts always."""
        if models not in self._kept:
            gates = []
            for place, model in enumerate(models[:-1]):
                if self.signal == "pooled-agreement" and place:
                    gates.append(
                        self._pooled(models[: place + 1], wanted_later=place + 2 < len(models))
                    )
                elif self.signal == "pooled-agreement":
                    gates.append(self._pooled((model,), wanted_later=len(models) > 2))
                else:
                    gates.append(self._gate(model))
            self._kept[models] = Sequence(models, tuple(gates), self.end(models[-1]))
        return self._kept[models]

    def end(self, model: int) -> End:
        """The table of a model that accepts always."""
        if model not in self._ends:
            votes = self._votes[model]
            stop = votes.stop(0)
            cost, calls = self._stage_cost(model, stop), self._stage_calls(stop)
            first = votes.first_of(self._answer[model])
            correct = np.take_along_axis(self._correct[model], first[:, None], 1)[:, 0]
            self._ends[model] = End(cost, calls, self._regret(self._answer[model]), correct)
        return self._ends[model]

    def winner_rows(self, model: int) -> Ints:
        """The row of the recording with a model's commonest answer; -1 where nobody voted."""
        winner = self._answer[model]
        first = self._votes[model].first_of(winner)
        rows = np.take_along_axis(self.draw.rows[model], first[:, None], 1)[:, 0]
        return np.where(winner >= 0, rows, -1)

    def _regret(self, answer: Ints) -> Bools:
        different: Bools = answer != self._answer[self.strongest]
        return different

    def _stage_cost(self, model: int, stop: Ints) -> Ints:
        """Picodollars of a stage that draws `stop` samples (at least one)."""
        cost: Ints
        if self.sampling == "n" and self.draw.samples[model] > 1:
            if self._once[model] is None:
                again = self.draw.input_cost(model)[:, 1:].sum(axis=1)
                self._once[model] = self._calls[model][:, -1] - again
            cost = self._once[model]  # type: ignore[assignment]
            return np.broadcast_to(cost, stop.shape)
        cost = np.take_along_axis(self._calls[model], np.atleast_2d(stop).T - 1, 1).T
        return cost.reshape(stop.shape)

    def _stage_calls(self, stop: Ints) -> Ints:
        """Calls of a stage that draws `stop` samples."""
        return np.ones_like(stop) if self.sampling == "n" else stop

    def _gate(self, model: int) -> Gate:
        if model not in self._gates:
            if self.signal == "agreement":
                self._gates[model] = self._voting_gate(
                    model, self._votes[model], stop_on_reject=True
                )
            else:
                self._gates[model] = self._column_gate(model)
        return self._gates[model]

    def _pooled(self, models: tuple[int, ...], *, wanted_later: bool) -> Gate:
        answers = np.concatenate([self.draw.answers[model] for model in models], axis=1)
        earlier = answers.shape[1] - self.draw.samples[models[-1]]
        votes = _Votes(answers, earlier)
        winner = votes.final_winner()
        correct = np.concatenate([self._correct[model] for model in models], axis=1)
        # The policy returns the winner as the stage's own sample if it has it, else an earlier one.
        own = np.roll(np.arange(answers.shape[1]), answers.shape[1] - earlier)
        own = np.concatenate([np.arange(earlier, answers.shape[1]), np.arange(earlier)])
        place = own[np.argmax(answers[:, own] == winner[:, None], axis=1)]
        chosen = np.take_along_axis(correct, place[:, None], 1)[:, 0]
        return self._voting_gate(
            models[-1], votes, stop_on_reject=not wanted_later, correct=chosen, never=wanted_later
        )

    def _voting_gate(
        self,
        model: int,
        votes: _Votes,
        *,
        stop_on_reject: bool,
        correct: Floats | None = None,
        never: bool = False,
    ) -> Gate:
        """A gate on the votes of the winner; `never` adds the setting that accepts nothing."""
        places = votes.places
        needs = np.arange(1, places + 1 + never)
        stops = np.stack([votes.stop(int(need), stop_on_reject) for need in needs])
        cost, calls = self._stage_cost(model, stops), self._stage_calls(stops)
        if self.sampling == "n":
            cost, calls = cost[:1], calls[:1]
        winner = votes.final_winner()
        if correct is None:
            first = votes.first_of(winner)
            correct = np.take_along_axis(self._correct[model], first[:, None], 1)[:, 0]
        return Gate(votes.final_votes(), needs / places, cost, calls, self._regret(winner), correct)

    def _column_gate(self, model: int) -> Gate:
        votes, winner = self._votes[model], self._answer[model]
        values = self.draw.column(self.signal, model)
        first = votes.first_of(winner)
        if self.signal in LOGPROBS:
            voters = (self.draw.answers[model] == winner[:, None]) & ~np.isnan(values)
            total = np.where(voters, values, 0.0).sum(axis=1)
            count = voters.sum(axis=1)
            signal = np.where(count > 0, total / np.maximum(count, 1), -np.inf)
        else:
            signal = np.take_along_axis(values, first[:, None], 1)[:, 0]
            signal = np.where(np.isnan(signal), -np.inf, signal)
        if np.isneginf(signal).all():
            raise DataError(
                f"{self.draw.recording.path}: model {self.draw.models[model]!r} has no value of "
                f"{self.signal!r} at all; choose another signal or leave the model out"
            )
        drawn = np.full(self.questions, self.draw.samples[model])
        cost, calls = self._stage_cost(model, drawn), self._stage_calls(drawn)
        if self.signal_cost_column is not None:
            cost = cost + bought_cost(self.draw, model, self.signal, first)
            calls = calls + 1
        thresholds = np.unique(signal[np.isfinite(signal)])
        rank = np.searchsorted(thresholds, signal, side="right")
        correct = np.take_along_axis(self._correct[model], first[:, None], 1)[:, 0]
        return Gate(rank, thresholds, cost[None], calls[None], self._regret(winner), correct)


class _Votes:
    """The course of a vote over all questions at once; see `signals.vote.Vote`."""

    def __init__(self, answers: Ints, earlier: int = 0) -> None:
        """`answers` are codes, shape (questions, places); the first `earlier` are given."""
        self.answers, self.earlier = answers, earlier
        self.places = answers.shape[1]
        self.lead = np.empty(answers.shape, np.int64)
        self.leader = np.empty(answers.shape, np.int64)
        self.certain = np.empty(answers.shape, np.bool_)
        step = max(1, 4_000_000 // self.places**2)
        for begin in range(0, len(answers), step):
            part = slice(begin, begin + step)
            self.lead[part], self.leader[part], self.certain[part] = _course(answers[part])
        self._stops: dict[tuple[int, bool], Ints] = {}

    def final_votes(self) -> Ints:
        """The winner's votes."""
        return self.lead[:, -1]

    def final_winner(self) -> Ints:
        """The winner's code, -1 where nobody voted."""
        return np.where(self.lead[:, -1] > 0, self.leader[:, -1], -1)

    def first_of(self, winner: Ints) -> Ints:
        """The first sample with the winner's answer; the very first where nobody voted."""
        first: Ints = np.argmax(self.answers == winner[:, None], axis=1)
        return first

    def stop(self, need: int, stop_on_reject: bool = True) -> Ints:
        """How many of the stage's own samples are drawn, at least one."""
        key = (need, stop_on_reject)
        if key not in self._stops:
            left = self.places - 1 - np.arange(self.places)
            settled = (self.lead >= need) & self.certain
            if stop_on_reject:
                settled |= self.lead + left < need
            settled[:, -1] = True
            self._stops[key] = np.argmax(settled[:, self.earlier :], axis=1) + 1
        return self._stops[key]


def _course(answers: Ints) -> tuple[Ints, Ints, Bools]:
    """Leader's votes, leader, and whether it is certain to win, after each answer."""
    places = answers.shape[1]
    same = (answers[:, :, None] == answers[:, None, :]) & (answers >= 0)[:, :, None]
    # votes[q, p, i]: for sample i's answer among the first p + 1 samples; 0 for samples to come.
    votes = np.cumsum(same, axis=2, dtype=np.int16).transpose(0, 2, 1)
    votes = np.where(np.tril(np.ones((places, places), np.bool_)), votes, 0)
    first = votes.argmax(axis=2)
    lead = np.take_along_axis(votes, first[:, :, None], 2)
    leader = np.take_along_axis(answers, first, 1)
    left = (places - 1 - np.arange(places))[None, :, None]
    rival = (answers[:, None, :] != leader[:, :, None]) & (votes > 0)
    before = np.arange(places)[None, None, :] < first[:, :, None]
    upset = rival & ((votes + left > lead) | (before & (votes + left == lead)))
    certain = ~upset.any(axis=2) & (lead >= left)[:, :, 0]
    certain[:, -1] = True
    return lead[:, :, 0].astype(np.int64), leader, certain
