"""Questions to a model server: each is asked once, its answer kept by the hash of the question, within the bounds."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

from configs.label_endpoint import LabelEndpoint
from sae.labels.endpoint.answers import InvalidAnswer, schema
from sae.labels.endpoint.client import EndpointClient
from sae.labels.endpoint.errors import EndpointBudget, EndpointError, EndpointUnreachable, QuestionRefused
from sae.labels.endpoint.prompts import Prompt, again, prompt_hash

T = TypeVar("T")
_MOST_REFUSED = 5  # before the first answer: then it is the settings that the server does not take


class Answered(NamedTuple):
    """A kept answer: its text, whether it was cut short, and what it took."""

    text: str
    whole: bool
    prompt_tokens: int
    completion_tokens: int
    requests: int  # repeated ones included


class KeptAnswers(Protocol):
    """Where answers are kept, by hash, so that a resumed job does not ask again."""

    def all(self) -> dict[str, Answered]:
        """Those of earlier attempts."""
        ...

    def keep(self, name: str, answered: Answered) -> None:
        """Keeps one, durably. Called in threads."""
        ...


class Asked(NamedTuple):
    """An answer as it was understood, None if it could not be; the hash of its question; and what it took."""

    answer: Any
    hash: str
    prompt_tokens: int
    completion_tokens: int


class Asker:
    """Asks within the bounds of `endpoint`. `counts` has what the record says of the requests."""

    def __init__(self, endpoint: LabelEndpoint, client: EndpointClient, kept: KeptAnswers) -> None:
        self._endpoint, self._client, self._kept = endpoint, client, kept
        self._at_once = asyncio.Semaphore(endpoint.runtime.concurrency)
        self._earlier = kept.all()
        self._answers: dict[str, asyncio.Task[Answered]] = {}
        self._requests = sum(one.requests for one in self._earlier.values())
        self._tokens = sum(one.prompt_tokens + one.completion_tokens for one in self._earlier.values())
        self._reserved = 0
        self._end: EndpointError | EndpointUnreachable | EndpointBudget | None = None
        self.invalid = self.refused = 0
        self.done = 0

    async def ask(self, prompt: Prompt, read: Callable[[str], T]) -> Asked:
        """The answer, read by `read`, which raises InvalidAnswer; one that cannot be read is asked for once more.

        Raises EndpointError, EndpointUnreachable, EndpointBudget.
        """
        try:
            return await self._asked(prompt, read)
        except QuestionRefused:
            self.refused += 1
            if not self.done and self.refused >= _MOST_REFUSED:
                raise
            return Asked(None, prompt_hash(self._body(prompt)), 0, 0)

    async def _asked(self, prompt: Prompt, read: Callable[[str], T]) -> Asked:
        first = await self._answered(prompt)
        tokens = first.prompt_tokens, first.completion_tokens
        name = prompt_hash(self._body(prompt))
        try:
            return Asked(_read(first, read), name, *tokens)
        except InvalidAnswer as error:
            second_prompt = again(prompt, str(error))
        second = await self._answered(second_prompt)
        tokens = tokens[0] + second.prompt_tokens, tokens[1] + second.completion_tokens
        try:
            return Asked(_read(second, read), prompt_hash(self._body(second_prompt)), *tokens)
        except InvalidAnswer:
            self.invalid += 1
            return Asked(None, name, *tokens)

    async def close(self) -> None:
        """Ends what is still asked."""
        for task in self._answers.values():
            task.cancel()
        await asyncio.gather(*self._answers.values(), return_exceptions=True)

    def answers(self) -> dict[str, Answered]:
        """All that were used, by hash, in order of hash."""
        return {name: task.result() for name, task in sorted(self._answers.items()) if _has_answer(task)}

    def record(self) -> dict[str, Any]:
        """Requests, tokens, cost and failures over all attempts; failures are those of this one."""
        prices, used = self._endpoint.runtime.prices, self.answers().values()
        read, made = sum(one.prompt_tokens for one in used), sum(one.completion_tokens for one in used)
        failures: Counter[str] = self._client.failures
        return {
            "questions": len(used),
            "requests": self._requests,
            "invalid_answers": self.invalid,
            "refused_questions": self.refused,
            "failed_requests": dict(sorted(failures.items())),
            "prompt_tokens": read,
            "completion_tokens": made,
            "prices_per_million": prices.model_dump(),
            "cost": (read * prices.prompt + made * prices.completion) / 1e6,
        }

    async def _answered(self, prompt: Prompt) -> Answered:
        body = self._body(prompt)
        name = prompt_hash(body)
        if name not in self._answers:  # equal questions are one
            self._answers[name] = asyncio.ensure_future(self._new(name, body))
        return await self._answers[name]

    async def _new(self, name: str, body: dict[str, Any]) -> Answered:
        if (earlier := self._earlier.get(name)) is not None:
            self.done += 1
            return earlier
        async with self._at_once:
            if self._end is not None:  # whose turn it is only because the question before ended everything
                raise self._end
            try:
                return await self._request(name, body)
            except QuestionRefused:
                raise
            except (EndpointError, EndpointUnreachable, EndpointBudget) as error:
                self._end = error
                raise

    async def _request(self, name: str, body: dict[str, Any]) -> Answered:
        most = sum(len(one["content"].encode()) for one in body["messages"]) // 2 + self._endpoint.answer_tokens
        self._check_tokens(most)
        self._reserved += most
        try:
            reply = await self._client.complete(body, self._begin)
        finally:
            self._reserved -= most
        self._tokens += reply.prompt_tokens + reply.completion_tokens
        answered = Answered(reply.text, reply.whole, reply.prompt_tokens, reply.completion_tokens, reply.requests)
        # To the end even if the job is stopped meanwhile: the answer was paid for.
        await asyncio.shield(asyncio.to_thread(self._kept.keep, name, answered))
        self.done += 1
        return answered

    def _begin(self) -> None:
        """Counts an attempt."""
        most = self._endpoint.runtime.max_requests
        if self._requests >= most:
            raise EndpointBudget(
                f"{self._requests} requests were made and endpoint.runtime.max_requests is {most}: raise it and run the job "
                "again; answers so far are kept"
            )
        self._requests += 1

    def _check_tokens(self, most: int) -> None:
        bound = self._endpoint.runtime.max_tokens
        if self._tokens + self._reserved + most > bound:
            raise EndpointBudget(
                f"{self._tokens} tokens were used, requests at work and the next could take {self._reserved + most}, and "
                f"endpoint.runtime.max_tokens is {bound}: raise it and run the job again; answers so far are kept"
            )

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        endpoint = self._endpoint
        body: dict[str, Any] = {"model": endpoint.model, "messages": prompt.messages()}
        body[endpoint.token_limit] = endpoint.answer_tokens
        if endpoint.temperature is not None:
            body["temperature"] = endpoint.temperature
        if endpoint.response_format == "json_object":
            body["response_format"] = {"type": "json_object"}
        elif endpoint.response_format == "json_schema":
            body["response_format"] = {"type": "json_schema", "json_schema": schema(prompt.answer)}
        return body


def _has_answer(task: asyncio.Task[Answered]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _read(answered: Answered, read: Callable[[str], T]) -> T:
    if not answered.whole:
        raise InvalidAnswer("it was longer than the tokens that an answer may have")
    return read(answered.text)
