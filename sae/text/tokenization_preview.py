"""What a tokenization makes of one short text, by the rules and functions of the tokenize stage. Needs no torch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from configs.tokenize import TokenizeConfig
from sae.formats.tokens import Role
from sae.text.encoded_texts import open_tokenizer
from sae.text.flat_tokens import flat_tokens
from sae.text.packing import pack_rows
from sae.text.shard_layout import row_length, split_layouts
from sae.text.tokenizer_spec import TokenizeError, read_tokenizer_spec

MOST_POSITIONS = 10_000


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
) -> list[list[PreviewToken]]:
    """The rows of a dataset that has this document alone. Raises TokenizeError as the stage does.

    Also raises it if the rows have more than MOST_POSITIONS in all.
    """
    spec = read_tokenizer_spec(tokenizer, config, embeddings)
    encoding = open_tokenizer(spec.tokenizer_json, spec.special_strings).encode(text, add_special_tokens=False)
    counts, flat = flat_tokens([0], ["train"], [encoding.ids], spec)
    rows = []
    for layout in split_layouts([counts], spec, config):
        length = row_length([layout], config)
        if layout.rows * length > MOST_POSITIONS:
            raise TokenizeError(
                f"the preview has {layout.rows:,} rows of {length:,} tokens, and at most {MOST_POSITIONS:,} tokens are "
                "shown: take a shorter text or a smaller stride"
            )
        pad_left = config.padding_side == "left"
        packed = pack_rows(np.arange(layout.rows), layout, lambda _: flat, spec, length, pad_left)
        for ids, roles, offset in zip(packed.input_ids, packed.roles, packed.segments.offset.tolist(), strict=True):
            kept = slice(None) if config.padding != "none" else roles != Role.PAD
            rows.append(_row(tokenizer, text, ids[kept].tolist(), roles[kept].tolist(), encoding.offsets[offset:]))
    return rows


def _row(
    tokenizer: StoredTokenizer, text: str, ids: list[int], roles: list[int], places: list[tuple[int, int]]
) -> list[PreviewToken]:
    """One row. `places`: characters of the document's tokens from the row's first one on."""
    found, own = [], iter(places)
    for id, role in zip(ids, roles, strict=True):
        if role in (Role.BOS, Role.SEPARATOR, Role.PAD):
            string = tokenizer.backend_tokenizer.id_to_token(id) or ""
            found.append(PreviewToken(id, string, Role(role).name.lower(), None, None))
        else:
            start, stop = next(own)
            found.append(PreviewToken(id, text[start:stop], Role(role).name.lower(), start, stop))
    return found
