"""Requests to one model server: to its base URL alone, repeated where that can help, bounded in time and size."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple

import httpx2
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt

from configs.label_endpoint import LabelEndpoint
from sae.labels.endpoint.errors import EndpointError, EndpointUnreachable, QuestionRefused
from sae.labels.endpoint.key import HOW, LabelKey
from sae.quoting import quoted, shortened
from sae.sources.hub_requests import retry_after_s

LONGEST_PAUSE_S = 300.0  # that a server may ask for
_FIRST_PAUSE_S = 0.5
_LONGEST_OWN_PAUSE_S = 60.0
_MOST_BYTES = 4 << 20  # of one response
_TEMPORARY = (408, 409, 425, 429, 500, 502, 503, 504, 529)

_REFUSED = (400, 413, 422)


class Reply(NamedTuple):
    """A model's answer with its tokens, counted by the server or, if it does not, guessed. `whole`: it was not cut short.

    `requests`: how many it took.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    whole: bool
    requests: int = 1


class _Busy(Exception):
    """What another attempt may mend: `why` for counts, and the seconds that the server asks to wait."""

    def __init__(self, why: str, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.why, self.after_s = why, after_s


class EndpointClient:
    """An open client, to be used in one event loop. `failures` counts failed attempts by what was wrong."""

    def __init__(self, endpoint: LabelEndpoint, key: LabelKey | None) -> None:
        self._endpoint, self._key = endpoint, key
        self.failures: Counter[str] = Counter()
        self._not_before = 0.0  # time.monotonic() at which a busy server may be asked again
        headers = {} if key is None else {"Authorization": f"Bearer {key.text}"}
        # trust_env: neither proxies nor credentials of the environment, so requests go to the given URL alone.
        self._http = httpx2.AsyncClient(
            headers=headers,
            timeout=endpoint.runtime.timeout_s,
            limits=httpx2.Limits(max_connections=endpoint.runtime.concurrency),
            follow_redirects=False,
            trust_env=False,
        )

    async def __aenter__(self) -> EndpointClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def complete(self, body: dict[str, Any], begin: Callable[[], None] = lambda: None) -> Reply:
        """Posts a chat completion, with a call of `begin` before each attempt.

        Raises EndpointError, QuestionRefused, EndpointUnreachable.
        """
        attempts = self._endpoint.runtime.attempts
        tried = 0

        def read(found: Any) -> Reply:
            return _reply(found, body)

        def counted() -> None:
            nonlocal tried
            begin()
            tried += 1

        reply: Reply = await self._repeated("POST", "/chat/completions", body, attempts, read, counted)
        return reply._replace(requests=tried)

    async def models(self, attempts: int) -> Any:
        """What `/models` answers; None if there is no such route. Raises EndpointError, EndpointUnreachable."""
        return await self._repeated("GET", "/models", None, attempts, lambda found: found, lambda: None)

    async def _repeated(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        attempts: int,
        read: Callable[[Any], Any],
        begin: Callable[[], None],
    ) -> Any:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_Busy),
            stop=stop_after_attempt(attempts),
            wait=_pause,
            reraise=True,
        )
        try:
            return await retrying(self._once, method, path, body, read, begin)
        except _Busy as error:
            raise EndpointUnreachable(f"the model server {self._endpoint.url} {error}") from None

    async def _once(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        read: Callable[[Any], Any],
        begin: Callable[[], None],
    ) -> Any:
        # A server that is busy for one is busy for all.
        while (left := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(left)
        begin()
        try:
            async with asyncio.timeout(self._endpoint.runtime.timeout_s):
                async with self._http.stream(method, self._endpoint.url + path, json=body) as response:
                    content = await _content(response)
        except (TimeoutError, httpx2.TimeoutException):
            raise self._counted("timeout", f"did not answer within {self._endpoint.runtime.timeout_s:g} s") from None
        except httpx2.TransportError as error:
            raise self._counted(
                "connection", f"cannot be reached: {shortened(str(error)) or 'the connection was cut'}"
            ) from None
        return self._checked(method, response, content, read)

    def _checked(self, method: str, response: httpx2.Response, content: bytes, read: Callable[[Any], Any]) -> Any:
        status = response.status_code
        if status in _TEMPORARY:
            raise self._busy(response, content)
        if method == "GET" and status in (404, 405, 501):
            return None
        if status != 200:
            raise self._refused(response, content)
        try:
            return read(json.loads(content))
        except (ValueError, LookupError, TypeError, AttributeError):
            if method == "GET":
                return None
            raise self._counted("not_a_completion", "does not answer with a chat completion in JSON") from None

    def _busy(self, response: httpx2.Response, content: bytes) -> _Busy:
        after = retry_after_s(response.headers.get("Retry-After", ""), time.time())
        if after is not None:
            if after > LONGEST_PAUSE_S:
                raise EndpointUnreachable(
                    f"the model server {self._endpoint.url} answers {response.status_code} and asks to wait {after:.0f} s: "
                    "run the job again then; answers so far are kept"
                )
            self._not_before = max(self._not_before, time.monotonic() + after)
        said = f"answers {response.status_code}: {self._message(content)}"
        return self._counted(f"status_{response.status_code}", said, after)

    def _refused(self, response: httpx2.Response, content: bytes) -> EndpointError:
        status, url, said = response.status_code, self._endpoint.url, self._message(content)
        if response.is_redirect:
            target = shortened(response.headers.get("Location", ""), 120)
            return EndpointError(
                f"{url} redirects to {target}: nothing is sent there; give that server's URL if it is meant"
            )
        if status in (401, 403):
            if self._key is None:
                return EndpointError(f"the model server {url} requires a key ({status}): {HOW}")
            return EndpointError(
                f"the model server {url} does not accept the key of {self._key.place} ({status}): {said}"
            )
        message = (
            f"the model server {url} answers {status} to a request for the model {quoted(self._endpoint.model)}: {said}"
        )
        if status in _REFUSED:
            self.failures[f"status_{status}"] += 1
            return QuestionRefused(message)
        return EndpointError(message)

    def _message(self, content: bytes) -> str:
        """What a server says about an error, on one short line and without the key."""
        text = content[:4000].decode("utf-8", "replace")
        try:
            error = json.loads(content)["error"]
            text = str(error["message"] if isinstance(error, dict) else error)
        except (ValueError, KeyError, TypeError):
            pass
        if self._key is not None:
            text = text.replace(self._key.text, "(the key)")
        return shortened("".join(c if c.isprintable() else " " for c in text), 160) or "no message"

    def _counted(self, why: str, message: str, after_s: float | None = None) -> _Busy:
        self.failures[why] += 1
        return _Busy(why, message, after_s)


def _pause(state: RetryCallState) -> float:
    """Seconds before the next attempt: what the server asks for, else 0.5, 1, 2, ..., up to half shorter at random."""
    error = state.outcome.exception() if state.outcome is not None else None
    if isinstance(error, _Busy) and error.after_s is not None:
        return error.after_s
    longest = min(_LONGEST_OWN_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (state.attempt_number - 1))
    return longest * (1 - 0.5 * random.random())


async def _content(response: httpx2.Response) -> bytes:
    parts, size = [], 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > _MOST_BYTES:
            raise EndpointError(
                f"the model server answers with more than {_MOST_BYTES >> 20} MiB: it is not a chat completion"
            )
        parts.append(part)
    return b"".join(parts)


def _reply(found: Any, body: dict[str, Any]) -> Reply:
    choice = found["choices"][0]
    text, usage = choice["message"]["content"] or "", found.get("usage") or {}
    if not isinstance(text, str):
        raise TypeError("the content is no text")
    # A server need not count; four characters a token is what English text takes.
    read = int(usage.get("prompt_tokens") or sum(len(one["content"]) for one in body["messages"]) // 4)
    made = int(usage.get("completion_tokens") or len(text) // 4)
    return Reply(text, read, made, choice.get("finish_reason") != "length")
