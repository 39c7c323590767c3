"""What a session has come to needs no second finding out: it goes on with the stronger model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from farthing.core.protocols import Operation, Policy
from farthing.core.request import Request
from farthing.core.response import Response
from farthing.policies.cascade import Cascade
from farthing.policies.fallback import Fallback
from farthing.policies.sessions import Sessions, goes_on, session_of


class Sticky:
    """A cascade in which a session never goes back to a weaker model.

    A session is named by the request, or else is the conversation with the same opening, from
    its second turn on. Once a later stage has given an answer, its later requests begin there.

    Attributes:
        policy: the cascade of a session's first request.
    """

    kind = Cascade.kind

    def __init__(self, cascade: Cascade, sessions: Sessions[int] | None = None) -> None:
        self.policy = cascade
        self.sessions: Sessions[int] = Sessions() if sessions is None else sessions
        self._from = [_beginning_at(cascade, index) for index in range(len(cascade.stages))]
        self._stages = {stage.model: i for i, stage in reversed([*enumerate(cascade.stages)])}

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The cascade's answer, from where the session stands."""
        session = session_of(request, operation)
        stage = (self.sessions.get(session) or 0) if goes_on(request) else 0
        response = await self._from[stage].answer(request, operation)
        stage = max(stage, self._stages.get(response.model, 0))
        if stage:
            self.sessions.set(session, stage)
        return response

    def get_params(self) -> dict[str, Any]:
        """Those of the cascade."""
        return self.policy.get_params()


def stick(policy: Policy) -> Policy:
    """`policy` with each of its cascades made sticky."""
    if isinstance(policy, Cascade):
        return Sticky(policy)
    if isinstance(policy, Fallback):
        models = (m if isinstance(m, str) else stick(m) for m in policy.models)
        return replace(policy, models=tuple(models))
    return policy


def unstick(policy: Policy) -> Policy:
    """The policy that `stick` made sticky."""
    return policy.policy if isinstance(policy, Sticky) else policy


def _beginning_at(cascade: Cascade, index: int) -> Cascade:
    if not index:
        return cascade
    skipped = (replace(stage, accept="skip") for stage in cascade.stages[:index])
    return replace(cascade, stages=(*skipped, *cascade.stages[index:]))
