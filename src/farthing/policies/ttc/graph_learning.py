"""Learning which operation on a graph of thoughts comes next, by trial."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Response
from farthing.policies.ttc.graph_actions import Action, Actions
from farthing.policies.ttc.thought_graph import Thought, ThoughtGraph

Trial = tuple[Request, Operation, Callable[[Response], float]]
"""A question, a new operation for it, and how right an answer is, 0 to 1."""


async def fit(
    policy: ThoughtGraph, trials: Iterable[Trial], *, price: float, seed: int = 0
) -> Actions:
    """What each operation comes to in each state where `policy` is played on `trials`.

    A trial's return is how right the answer is, less `price` for each token that was generated
    from then on. At first half of the choices are at random, in the end one of twenty; the others
    are the best so far: a bandit in each state, whose arms are the operations.
    """
    given = list(trials)
    table, rng = Actions(), np.random.default_rng(seed)
    told = {one.name: getattr(policy, one.name) for one in fields(policy)} | {"eager": True}
    for number, (request, operation, right) in enumerate(given):
        explore = 0.05 + 0.45 * (1 - number / len(given))
        player = _Player(**told, table=table, rng=rng, explore=explore)
        response = await player.answer(request, operation)
        worth, spent = right(response), _tokens(operation)
        for state, action, before in player.chosen:
            table.learn(state, action, worth - price * (spent - before))
    return table


@dataclass(frozen=True)
class _Player(ThoughtGraph):
    """Plays by what is learnt so far, and notes what it chose, and after how many tokens."""

    table: Actions = field(default_factory=Actions)
    rng: Any = None
    explore: float = 0.0
    chosen: list[tuple[str, Action, int]] = field(default_factory=list)

    def _pick(
        self, thought: Thought, sure: float, able: list[Action], operation: Operation
    ) -> Action:
        state = thought.state(sure)
        action = self.table.drawn(state, able, self.rng, self.explore)
        self.chosen.append((state, action, _tokens(operation)))
        return action


def _tokens(operation: Operation) -> int:
    usage = operation.usage
    return 0 if usage is None else usage.output_tokens
