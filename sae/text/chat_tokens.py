"""Chats to tokens with the speaker of each: rendered by the tokenizer's chat template, or written plainly.

A special token that the template writes becomes that token, whatever becomes of its name inside a message: before the text
is encoded, such names are put into a form that no message has, which the tokenizer here takes for the same token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from configs.tokenize import TokenizeConfig
from sae.formats.dataset import MESSAGES, DatasetInfo, Message
from sae.formats.tokens import Speaker
from sae.text.chat_messages import ChatError
from sae.text.chat_plain import render_plainly
from sae.text.chat_template import RenderedChat, render_chat
from sae.text.tokenizer_spec import TokenizeError, TokenizerSpec

_OPEN, _CLOSE = "\U0010fffc", "\U0010fffd"  # private characters around the number of a special token
_PRIVATE = re.compile(f"[{_OPEN}{_CLOSE}]")


class ChatRendering(NamedTuple):
    """How chats become text. `template` and `special_tokens` are JSON of the tokenizer's own; None: plainly."""

    template: str | None
    special_tokens: str
    on_date: date | None


class SpokenTokens(NamedTuple):
    """The tokens of a document: ids int32 [n], speakers uint8 [n]."""

    ids: npt.NDArray[np.int32]
    speakers: npt.NDArray[np.uint8]


class _MarkedText(NamedTuple):
    """A text to encode, and the speaker of each of its characters uint8 [characters]."""

    text: str
    speakers: npt.NDArray[np.uint8]


def chat_rendering(
    tokenizer: Any, config: TokenizeConfig, infos: Sequence[DatasetInfo], where: str
) -> ChatRendering | None:
    """How the chats of datasets become text under a config; None if there are no chats.

    Raises TokenizeError where it asks for a template and there is none, or no chat.
    """
    template = getattr(tokenizer, "chat_template", None)
    if not any(MESSAGES in info.columns for info in infos):
        if config.chat == "template" or config.chat_date is not None:
            option = "chat: template" if config.chat == "template" else "chat_date"
            raise TokenizeError(
                f"`{option}`, but {where} has no chats: leave it out, or download chats (dataset.documents: chats)"
            )
        return None
    if template is None and (config.chat == "template" or config.chat_date is not None):
        raise TokenizeError(
            "`chat: template`, but the tokenizer has no chat template: set `chat: plain` (without chat_date), or take a model "
            "whose tokenizer has one"
        )
    if template is None or config.chat == "plain":
        return ChatRendering(None, "{}", None)
    return ChatRendering(json.dumps(template), json.dumps(tokenizer.special_tokens_map, default=str), config.chat_date)


def encode_documents(
    texts: Sequence[str],
    chats: Sequence[Sequence[Mapping[str, Any]] | None],
    docs: Sequence[int],
    spec: TokenizerSpec,
    rendering: ChatRendering,
    variables: Sequence[str | None] | None = None,
) -> list[SpokenTokens]:
    """The tokens of documents; those without messages are encoded as text, of speaker NONE.

    `docs` are their numbers, for errors; `variables` what their chat templates are given, see Document. A BOS that the
    template begins with is left out where rows begin with one.
    Raises TokenizeError for a chat that the template does not take.
    """
    marked = [
        _marked(text, _rendered(messages, doc, rendering, own), doc, spec, rendering)
        for text, messages, doc, own in zip(texts, chats, docs, variables or [None] * len(docs), strict=True)
    ]
    encoder = _encoder(spec.tokenizer_json, spec.special_strings)
    encoded = encoder.tokenizer.encode_batch([one.text for one in marked], add_special_tokens=False)
    return [_spoken(one, encoding, encoder, spec) for one, encoding in zip(marked, encoded, strict=True)]


def token_speakers(offsets: npt.NDArray[np.int64], speakers: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The speaker uint8 [n] of tokens with the characters [start, stop) int64 [n, 2], from those of all characters.

    A token with characters of two speakers is the template's. One without characters has that of the next one.
    """
    if not len(speakers) or not len(offsets):
        return np.zeros(len(offsets), np.uint8)
    changes = np.concatenate([[0], np.cumsum(speakers[1:] != speakers[:-1])])
    first = np.minimum(offsets[:, 0], len(speakers) - 1)
    last = np.maximum(offsets[:, 1] - 1, first)
    found: npt.NDArray[np.uint8] = np.where(changes[first] == changes[last], speakers[first], Speaker.TEMPLATE)
    return found.astype(np.uint8)


def _rendered(
    messages: Sequence[Mapping[str, Any]] | None, doc: int, rendering: ChatRendering, variables: str | None
) -> RenderedChat | None:
    if messages is None:
        return None
    chat = [Message(**message) for message in messages]
    if rendering.template is None:
        return render_plainly(chat)
    tokenizer = _template_tokenizer(rendering.template, rendering.special_tokens)
    given = {} if variables is None else json.loads(variables)
    tools = given.pop("tools", ())
    try:
        return render_chat(tokenizer, chat, tools, variables=given, on_date=rendering.on_date)
    except ChatError as error:
        raise TokenizeError(f"document {doc}: {error}; or set `chat: plain`") from None


def _marked(
    text: str, chat: RenderedChat | None, doc: int, spec: TokenizerSpec, rendering: ChatRendering
) -> _MarkedText:
    """The text to encode: with the special tokens of the template in their private form."""
    if _PRIVATE.search(text if chat is None else chat.text):
        raise TokenizeError(
            f"document {doc} holds U+10FFFC or U+10FFFD, private characters that mark special tokens here: leave it out of "
            "the dataset"
        )
    if chat is None:
        return _MarkedText(text, np.zeros(len(text), np.uint8))
    names = _encoder(spec.tokenizer_json, spec.special_strings).names
    parts: list[str] = []
    codes: list[int] = []
    for start, stop, role in chat.spans:
        part = chat.text[start:stop]
        if role == "template" and rendering.template is not None:
            part = names.sub(part)
        parts.append(part)
        codes.append(Speaker[role.upper()])
    lengths = [len(part) for part in parts]
    return _MarkedText("".join(parts), np.repeat(np.asarray(codes, np.uint8), lengths))


class _Names:
    """The names of special tokens, longest first as the tokenizer takes them, and their private forms."""

    def __init__(self, names: Iterable[str]) -> None:
        ordered = sorted(set(names), key=lambda name: (-len(name), name))
        self.private = {name: f"{_OPEN}{number}{_CLOSE}" for number, name in enumerate(ordered)}
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def sub(self, text: str) -> str:
        """A text of the template with its special tokens in their private form."""
        return text if self._pattern is None else self._pattern.sub(lambda found: self.private[found[0]], text)


class _Encoder(NamedTuple):
    """A tokenizer that knows the private forms; `ids` int32 [private ids] gives the ids that they stand for."""

    tokenizer: Any
    names: _Names
    ids: npt.NDArray[np.int32]


@lru_cache(maxsize=2)
def _encoder(serialized: str, special_strings: str) -> _Encoder:
    """The tokenizer of a chat: special tokens in private form, and offsets of all characters of each token.

    With `special_strings: special` names in messages are tokens too.
    """
    from tokenizers import AddedToken, Tokenizer

    own = Tokenizer.from_str(serialized)
    special = {id: token for id, token in own.get_added_tokens_decoder().items() if token.special}
    names = _Names(token.content for token in special.values())
    content = json.loads(serialized)
    # A post-processor would move offsets (ByteLevel trims them); BOS and EOS of its own are not wanted here.
    content |= {"truncation": None, "padding": None, "post_processor": None}
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.encode_special_tokens = special_strings == "text"
    # Not special themselves, or they would be left as text together with the names that they stand for.
    tokenizer.add_tokens([
        AddedToken(
            names.private[token.content], single_word=False, lstrip=token.lstrip, rstrip=token.rstrip, normalized=False,
            special=False,
        )
        for token in special.values()
    ])  # fmt: skip
    known = tokenizer.get_vocab(with_added_tokens=True)
    ids = np.arange(1 + max(known.values(), default=0), dtype=np.int32)
    for id, token in special.items():
        ids[known[names.private[token.content]]] = id
    return _Encoder(tokenizer, names, ids)


def _spoken(text: _MarkedText, encoding: Any, encoder: _Encoder, spec: TokenizerSpec) -> SpokenTokens:
    ids = encoder.ids[np.asarray(encoding.ids, np.int64)]
    offsets = np.asarray(encoding.offsets, np.int64).reshape(-1, 2)
    speakers = token_speakers(offsets, text.speakers)
    if spec.row_bos is not None and len(ids) and (ids[0], speakers[0]) == (spec.row_bos, Speaker.TEMPLATE):
        ids, speakers = ids[1:], speakers[1:]
    return SpokenTokens(ids, speakers)


@lru_cache(maxsize=2)
def _template_tokenizer(template: str, special_tokens: str) -> Any:
    """What render_chat needs: transformers' own rendering of a template. It encodes nothing."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    # Its own names of special tokens, which the template is given: kinds of tokenizers have more of them than others.
    kind = type("TemplateTokenizer", (PreTrainedTokenizerFast,), {"special_tokens_map": json.loads(special_tokens)})
    tokenizer: Any = kind(tokenizer_object=Tokenizer(models.WordLevel({}, unk_token="")))
    tokenizer.chat_template = json.loads(template)
    return tokenizer
