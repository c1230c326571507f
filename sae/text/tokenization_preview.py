"""What a tokenization makes of one short text, by the rules and functions of the tokenize stage. Needs no torch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from configs.tokenize import TokenizeConfig
from sae.formats.tokens import Role
from sae.text.flat_tokens import open_tokenizer
from sae.text.tokenizer_spec import read_tokenizer_spec, text_roles


class StoredTokenizer:
    """A tokenizer read back from a model summary: what the stage needs of a fast transformers tokenizer."""

    def __init__(self, stored: dict[str, Any]) -> None:
        self.backend_tokenizer: Any = Tokenizer.from_str(stored["encoder"])
        self.bos_token_id: int | None = stored["bos_token_id"]
        self.eos_token_id: int | None = stored["eos_token_id"]
        self.pad_token_id: int | None = stored["pad_token_id"]
        self.all_special_ids: list[int] = stored["all_special_ids"]
        self._length = int(stored["length"])

    def __len__(self) -> int:
        return self._length

    def get_vocab(self) -> dict[str, int]:
        """All tokens with their ids."""
        vocabulary: dict[str, int] = self.backend_tokenizer.get_vocab()
        return vocabulary

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Token ids of a text."""
        ids: list[int] = self.backend_tokenizer.encode(text, add_special_tokens=add_special_tokens).ids
        return ids


class PreviewToken(NamedTuple):
    """One token of a row. `text` is what it stands for; `start` and `stop` are characters of the text, if it has any."""

    id: int
    text: str
    role: str
    start: int | None
    stop: int | None


def preview(
    tokenizer: StoredTokenizer, config: TokenizeConfig, text: str, embeddings: int | None
) -> list[PreviewToken]:
    """The tokens that a row with only this document in it begins with. Raises TokenizeError as the stage does."""
    spec = read_tokenizer_spec(tokenizer, config, embeddings)
    encoding = open_tokenizer(spec.tokenizer_json, spec.special_strings).encode(text, add_special_tokens=False)
    roles = text_roles(np.asarray(encoding.ids, np.int32), spec).tolist()
    tokens = [
        PreviewToken(id, text[start:stop], Role(role).name.lower(), start, stop)
        for id, role, (start, stop) in zip(encoding.ids, roles, encoding.offsets, strict=True)
    ]
    begin = [_put_in(tokenizer, spec.row_bos, Role.BOS)] if spec.row_bos is not None else []
    end = [_put_in(tokenizer, spec.separator, Role.SEPARATOR)] if spec.separator is not None else []
    return [*begin, *tokens, *end]


def _put_in(tokenizer: StoredTokenizer, id: int, role: Role) -> PreviewToken:
    return PreviewToken(id, tokenizer.backend_tokenizer.id_to_token(id) or "", role.name.lower(), None, None)
