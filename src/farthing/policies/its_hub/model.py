"""One operation as what its_hub's algorithms call: a language model, an orchestrator, rewards."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from farthing.core.errors import CapError, RequestError, UpstreamError
from farthing.core.request import Message, Request
from farthing.core.response import Sample
from farthing.core.together import together
from farthing.policies.its_hub import _api
from farthing.policies.its_hub.messages import to_answer, to_ours, to_theirs
from farthing.policies.ttc.gated import Gated
from farthing.policies.ttc.searching import aggregated
from farthing.signals.steps import StepReward

NODE = "answer"


class OperationModel(_api.AbstractLanguageModel):  # type: ignore[misc]
    """A model of an operation as its_hub's language model: every call is the operation's.

    The n-th sample of all is asked for with the request's seed and n. Equal conversations are
    one call of several samples where the model takes that.

    Attributes:
        samples: the whole answers to what the client asked, as they came.
        beginnings: of answers that are written step by step, as far as they came.
    """

    def __init__(
        self,
        model: str,
        request: Request,
        operation: Gated,
        temperature: float | None,
        fields: Mapping[str, Any],
    ) -> None:
        self.samples: list[Sample] = []
        self.beginnings: list[str] = []
        self._model, self._request, self._operation = model, request, operation
        self._temperature = request.temperature if temperature is None else temperature
        self._fields = fields
        self._asked = 0
        self._given: dict[int, tuple[dict[str, Any], Sample]] = {}
        extra = {k: v for k, v in request.extra.items() if k not in ("tools", "tool_choice")}
        self._base = replace(request, extra=extra, question="", raw=None)

    @property
    def asked(self) -> str | list[_api.ChatMessage]:
        """What the client asked: a single text, or messages."""
        messages = self._request.messages
        if len(messages) == 1 and messages[0] == Message("user", messages[0].text):
            return messages[0].text
        return to_theirs(messages)

    def sample_of(self, answer: dict[str, Any]) -> Sample | None:
        """The sample that this message was; None if it was pieced together."""
        known = self._given.get(id(answer))
        return None if known is None else known[1]

    async def agenerate(self, messages: Any, stop: Any = None, **settings: Any) -> Any:
        single = not (messages and isinstance(messages[0], list))
        told, failed = await self.several([messages] if single else messages, stop, **settings)
        if failed:
            raise failed[0]
        return told[0] if single else told

    async def agenerate_single(self, messages: Any, stop: Any = None, **settings: Any) -> Any:
        return await self.agenerate(messages, stop, **settings)

    async def several(
        self,
        conversations: Sequence[list[_api.ChatMessage]],
        stop: str | list[str] | None = None,
        *,
        temperature: float | Sequence[float | None] | None = None,
        usage_accumulator: _api.GenerationUsage | None = None,
        **settings: Any,
    ) -> tuple[list[dict[str, Any] | None], list[Exception]]:
        """An answer to each conversation, None of those that failed; and why these did."""
        heats = temperature if isinstance(temperature, Sequence) else [temperature]
        alike: list[tuple[Request, list[int]]] = []
        for place, conversation in enumerate(conversations):
            request = self._to_ask(conversation, stop, heats[place % len(heats)], settings)
            same = next((places for one, places in alike if one == request), None)
            if same is None:
                alike.append((request, [place]))
            else:
                same.append(place)
        many = self._operation.card(self._model).n
        whole = stop is None and not settings.get("max_completion_tokens")
        shown = stop if settings.get("include_stop_str_in_output") else None
        answers: list[dict[str, Any] | None] = [None] * len(conversations)
        failed: list[Exception] = []

        async def ask(request: Request, places: list[int], number: int) -> None:
            try:
                while places:
                    one = replace(request, n=len(places), seed=self._seed(number))
                    samples = await self._call(one, usage_accumulator)
                    for place, sample in zip(places, samples, strict=False):
                        if whole and one.messages == self._request.messages:
                            self.samples.append(sample)
                        answers[place] = answer = self._note(sample, shown)
                        if not whole:
                            prefix = _beginning(one)
                            self.beginnings.append(prefix + answer["content"])
                    places, number = places[len(samples) :], number + len(samples)
            except (CapError, UpstreamError) as error:
                failed.append(error)

        tasks = []
        for request, places in alike:
            for some in [places] if many else [[place] for place in places]:
                tasks.append(ask(request, some, self._asked))
                self._asked += len(some)
        await together(tasks)
        return answers, failed

    def _to_ask(
        self,
        conversation: list[_api.ChatMessage],
        stop: str | list[str] | None,
        temperature: float | None,
        settings: Mapping[str, Any],
    ) -> Request:
        messages, known = to_ours(conversation), self._request.messages
        if to_ours(to_theirs(known)) == messages[: len(known)]:
            messages = (*known, *messages[len(known) :])
            base = replace(self._base, question=self._request.question_id())
        else:
            base = self._base
        told = {"stop": stop, **{k: settings.get(k) for k in ("tools", "tool_choice")}}
        told["response_format"] = settings.get("response_format")
        extra = {**base.extra, **{k: v for k, v in told.items() if v is not None}}
        if messages and messages[-1].role == "assistant":
            extra |= self._fields
        return replace(
            base,
            messages=messages,
            temperature=self._temperature if temperature is None else temperature,
            max_tokens=settings.get("max_completion_tokens") or base.max_tokens,
            extra=extra,
        )

    async def _call(
        self, request: Request, counter: _api.GenerationUsage | None
    ) -> tuple[Sample, ...]:
        try:
            response = await self._operation.call(self._model, request, node=NODE)
        except RequestError as error:
            if error.code != "context_length_exceeded" or request.messages[-1].role != "assistant":
                raise
            return (Sample("", finish_reason="length"),) * request.n
        usage = response.usage
        if counter is not None and usage is not None:
            counter.add(usage.input_tokens, usage.output_tokens)
        return response.samples

    def _note(self, sample: Sample, stop: str | list[str] | None) -> dict[str, Any]:
        if isinstance(stop, str) and sample.finish_reason in ("stop", None):
            text = sample.text
            if text.strip() and not text.endswith(stop):
                sample = replace(sample, text=text + stop)
        answer = to_answer(sample)
        self._given[id(answer)] = answer, sample
        return answer

    def _seed(self, number: int) -> int | None:
        return None if self._request.seed is None else self._request.seed + number


def _beginning(request: Request) -> str:
    last = request.messages[-1]
    return last.text if last.role == "assistant" else ""


class OperationOrchestrator(_api.AbstractOrchestrator):  # type: ignore[misc]
    """Asks for all answers of a batch; of equal ones those that came are enough."""

    def __init__(self, operation: Gated) -> None:
        self._operation = operation

    async def agenerate(
        self,
        lm: OperationModel,
        messages_lst: list[list[_api.ChatMessage]],
        stop: str | None = None,
        **settings: Any,
    ) -> list[dict[str, Any]]:
        if not messages_lst:
            return []
        answers, failed = await lm.several(messages_lst, stop, **settings)
        given = [answer for answer in answers if answer is not None]
        if failed and (not given or any(one != messages_lst[0] for one in messages_lst)):
            raise failed[0]
        if any(isinstance(error, CapError) for error in failed):
            self._operation.stop("cap")
        return given


class Rewards:
    """What a reward says of texts, each asked about once.

    Attributes:
        known: the score of each text, from 0 to 1.
    """

    def __init__(self, reward: StepReward, request: Request, operation: Gated) -> None:
        self.known: dict[str, float] = {}
        self._reward, self._request, self._operation = reward, request, operation

    async def of(self, texts: Sequence[str], *, finished: bool) -> list[float]:
        """The score of each text; those that could be had are `known` also if others fail."""

        async def judge(text: str) -> None:
            scores = await self._reward.judge(
                self._request, text, self._operation, NODE, finished=finished
            )
            self.known[text] = aggregated(scores, "last")

        new = [text for text in dict.fromkeys(texts) if finished or text not in self.known]
        done = await asyncio.gather(*(judge(text) for text in new), return_exceptions=True)
        for error in done:
            if error is not None:
                raise error
        return [self.known[text] for text in texts]


class Outcomes(_api.AbstractOutcomeRewardModel):  # type: ignore[misc]
    """A reward as what scores whole answers."""

    def __init__(self, rewards: Rewards) -> None:
        self._rewards = rewards

    async def ascore(self, messages: Any, orchestrator: Any = None, **settings: Any) -> Any:
        single = not isinstance(messages[0], list)
        conversations = [messages] if single else messages
        texts = [one[-1].extract_text_content() for one in conversations]
        scores = await self._rewards.of(texts, finished=True)
        return scores[0] if single else scores

    def score(self, messages: Any, **settings: Any) -> Any:
        return asyncio.run(self.ascore(messages))


class Beginnings(_api.AbstractProcessRewardModel):  # type: ignore[misc]
    """A reward as what scores answers that are still being written."""

    def __init__(self, rewards: Rewards) -> None:
        self._rewards = rewards

    async def ascore(self, prompt_or_messages: Any, steps: Any) -> Any:
        single = isinstance(steps, str)
        scores = await self._rewards.of([steps] if single else steps, finished=False)
        return scores[0] if single else scores

    def score(self, prompt_or_messages: Any, steps: Any) -> Any:
        return asyncio.run(self.ascore(prompt_or_messages, steps))


class StepsToTheEnd(_api.StepGeneration):  # type: ignore[misc]
    """Their steps, where an answer is also finished once nothing more comes."""

    async def aforward(
        self, lm: Any, prompt_or_prompts: Any, steps_so_far: Any = None, **settings: Any
    ) -> Any:
        told = await super().aforward(lm, prompt_or_prompts, steps_so_far, **settings)
        if isinstance(prompt_or_prompts, str):
            return told[0], told[1] or not told[0].strip()
        return [(text, stopped or not text.strip()) for text, stopped in told]
