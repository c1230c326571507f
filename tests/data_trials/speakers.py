"""Speakers of the tokens of chats, by any tokenizer: those of the characters, which renderings in plain Python give."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from sae.formats.dataset import DatasetInfo, Message
from sae.formats.tokens import Speaker
from sae.text.chat_tokens import chat_rendering, encode_documents
from tests.data_trials.rows import spec_of
from tests.sae.chat_templates import CASES
from tests.sae.test_text_packing import settings_of

_INFO = DatasetInfo(1, 1, {"train": {"documents": 1}}, ["messages"], {})


def check_speakers(tokenizer: Any, template: str, messages: list[Message]) -> None:
    """One chat under one template, with a byte-level tokenizer."""
    case = CASES[template]
    tokenizer.chat_template = case.template
    names = {"BOS": tokenizer.bos_token, "EOS": tokenizer.eos_token}
    with patch.multiple("tests.sae.chat_templates", **names):
        chars = case.rendered(messages, False)
    text = tokenizer.apply_chat_template([one._asdict() for one in messages], tokenize=False)
    assert "".join(character for character, _ in chars) == text
    config = settings_of(64, bos="never", separator="none")
    rendering = chat_rendering(tokenizer, config, [_INFO], "datasets/x")
    assert rendering is not None
    spec = spec_of(tokenizer, config)
    (found,) = encode_documents([""], [[one._asdict() for one in messages]], [0], spec, rendering)
    _check_bytes(tokenizer, found.ids.tolist(), found.speakers.tolist(), text, [role for _, role in chars])


def _check_bytes(tokenizer: Any, ids: list[int], speakers: list[int], text: str, roles: list[str]) -> None:
    owners = [role for character, role in zip(text, roles, strict=True) for _ in character.encode()]
    pieces = [_bytes_of(tokenizer, id) for id in ids]
    assert b"".join(pieces) == text.encode(), "no byte lost or doubled"
    at = 0
    for piece, speaker in zip(pieces, speakers, strict=True):
        said = set(owners[at : at + len(piece)])
        assert Speaker(speaker).name.lower() == (said.pop() if len(said) == 1 else "template")
        at += len(piece)


def _bytes_of(tokenizer: Any, id: int) -> bytes:
    added = tokenizer.backend_tokenizer.get_added_tokens_decoder().get(id)
    if added is not None:
        return str(added.content).encode()
    return bytes(_BYTES[character] for character in tokenizer.convert_ids_to_tokens(id))


def _byte_characters() -> dict[str, int]:
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + i): byte for i, byte in enumerate(hidden)}


_BYTES = _byte_characters()
