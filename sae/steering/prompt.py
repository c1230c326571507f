"""A request's text or chat as the tokens of a prompt, and which tokens and texts end an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from configs.steering import SteeringRequest
from sae.formats.dataset import Message
from sae.language_model import LanguageModel
from sae.report.token_text import TokenText
from sae.steering.decoding import Prompt
from sae.steering.errors import SteeringError
from sae.text.chat_messages import ChatError
from sae.text.chat_template import render_chat


def make_prompt(tokenizer: Any, request: SteeringRequest, bos: str = "tokenizer") -> Prompt:
    """Tokens of a fast transformers tokenizer. `bos` as in a tokenize config: tokenizer, always or never.

    A chat is written by the tokenizer's chat template, and the answer is the assistant's next message. Raises SteeringError.
    """
    special = set(tokenizer.all_special_ids)
    if request.messages is not None:
        messages = [Message(role=turn.role, content=turn.content) for turn in request.messages]
        try:
            text = render_chat(tokenizer, messages, add_generation_prompt=True).text
        except ChatError as error:
            raise SteeringError(f"{error}; give `text` instead of `messages`") from None
        ids = tokenizer.encode(text, add_special_tokens=False)
    else:
        ids = _with_bos(tokenizer, str(request.text), bos)
    return Prompt([int(i) for i in ids], [i in special for i in ids])


def _with_bos(tokenizer: Any, text: str, bos: str) -> list[int]:
    ids: list[int] = list(tokenizer.encode(text, add_special_tokens=False))
    start = tokenizer.bos_token_id
    adds = bool(tokenizer.encode("a")[:1] == [start]) if bos == "tokenizer" else bos == "always"
    return [start, *ids] if adds and start is not None else ids


def end_of_answer(
    lm: LanguageModel, tokenizer: Any, pieces: TokenText, stop: Sequence[str]
) -> Callable[[Sequence[int]], bool]:
    """Whether an answer has ended: by a token of the tokenizer or of the model's own settings, or a text of `stop`."""
    configured = getattr(getattr(lm._model, "generation_config", None), "eos_token_id", None)
    ends = {tokenizer.eos_token_id, *(configured if isinstance(configured, (list, tuple)) else [configured])} - {None}

    def ended(ids: Sequence[int]) -> bool:
        return ids[-1] in ends or (bool(stop) and found_stop(b"".join(pieces.piece(i) for i in ids), stop) is not None)

    return ended


def found_stop(text: bytes, stop: Sequence[str]) -> int | None:
    """Where the first of the texts begins in `text`; None if none is there."""
    found = [at for at in (text.find(one.encode()) for one in stop) if at >= 0]
    return min(found, default=None)
