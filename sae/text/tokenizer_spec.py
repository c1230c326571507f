"""What must be known of a tokenizer to make rows, and the checks that come before any work."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from configs.tokenize import TokenizeConfig
from sae.formats.tokens import Role


class TokenizeError(ValueError):
    """A tokenizer, model and config that do not go together; the message says what would be right."""


class TokenizerLike(Protocol):
    """What is used of a transformers fast tokenizer."""

    bos_token_id: int | None
    eos_token_id: int | None
    pad_token_id: int | None
    all_special_ids: list[int]

    def __len__(self) -> int: ...
    def get_vocab(self) -> dict[str, int]: ...
    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...


class TokenizerSpec(NamedTuple):
    """Ids and choices that rows are made with. `row_bos` and `separator` are the tokens that are put in, or None."""

    vocab_size: int
    id_limit: int  # above every id; more than vocab_size if the ids have gaps
    bos_id: int | None
    eos_id: int | None
    pad_id: int
    row_bos: int | None
    separator: int | None
    special_ids: tuple[int, ...]
    boundary_ids: tuple[int, ...]  # BOS, EOS and PAD, which a document's own text may hold too
    special_strings: str  # as the config says
    tokenizer_json: str  # the tokenizer's own JSON: all that a worker needs to encode


def read_tokenizer_spec(
    tokenizer: TokenizerLike, config: TokenizeConfig, embeddings: int | None = None
) -> TokenizerSpec:
    """Reads a tokenizer under a config. `embeddings`: how many token ids the model knows.

    Raises TokenizeError where the config asks for a token that the tokenizer or the model does not have.
    """
    bos, eos, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    separator = {"eos": eos, "bos": bos, "none": None}[config.separator]
    if config.separator != "none" and separator is None:
        others = [name for name, token in (("eos", eos), ("bos", bos)) if token is not None]
        raise TokenizeError(
            f"`separator: {config.separator}`, but the tokenizer has no {config.separator.upper()} token: "
            f"set separator to {' or '.join([*others, 'none'])}, or name its {config.separator}_token in the model's "
            "tokenizer_config.json"
        )
    if config.bos == "always" and bos is None:
        raise TokenizeError(
            "`bos: always`, but the tokenizer has no BOS token: set bos to tokenizer or never, or name its bos_token in "
            "the model's tokenizer_config.json"
        )
    adds = config.add_special_tokens and (
        config.bos == "always" or (config.bos == "tokenizer" and _adds_bos(tokenizer))
    )
    for what, token in (("BOS", bos if adds else None), ("separator", separator)):
        if embeddings is not None and token is not None and token >= embeddings:
            raise TokenizeError(
                f"the {what} token has id {token}, but the model has embeddings for ids below {embeddings}: set "
                f"{what.lower()} to {'never' if what == 'BOS' else 'none'}, or take a model that knows it"
            )
    backend = _backend(tokenizer)
    # What tokenizer.json calls special counts, whatever the tokenizer's own settings name.
    added = (id for id, token in backend.get_added_tokens_decoder().items() if token.special)
    boundary = {one for one in (bos, eos, pad) if one is not None}
    special = {*tokenizer.all_special_ids, *boundary, *added}
    # The id at padded positions; the role says that they are padding, and the model must know the id.
    known = [one for one in (pad, eos, 0) if one is not None and (embeddings is None or one < embeddings)]
    pad = known[0]
    return TokenizerSpec(
        vocab_size=len(tokenizer),
        id_limit=1 + max([*tokenizer.get_vocab().values(), *special, pad]),
        bos_id=bos,
        eos_id=eos,
        pad_id=pad,
        row_bos=bos if adds else None,
        separator=separator,
        special_ids=tuple(sorted(special)),
        boundary_ids=tuple(sorted(boundary)),
        special_strings=config.special_strings,
        tokenizer_json=str(backend.to_str()),
    )


def roles_by_id(spec: TokenizerSpec) -> npt.NDArray[np.uint8]:
    """The role uint8 [id_limit] that each token id has in a document's text."""
    by_id = np.full(spec.id_limit, Role.DATA, np.uint8)
    by_id[list(spec.special_ids)] = Role.SPECIAL
    by_id[list(spec.boundary_ids)] = Role.BOUNDARY
    return by_id


def _adds_bos(tokenizer: TokenizerLike) -> bool:
    """Whether the tokenizer itself begins a text with BOS. Tried, for its settings do not always say so."""
    bos = tokenizer.bos_token_id
    plain = tokenizer.encode("a", add_special_tokens=False)
    whole = tokenizer.encode("a", add_special_tokens=True)
    return bos is not None and len(whole) > len(plain) and whole[0] == bos


def _backend(tokenizer: TokenizerLike) -> Any:
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise TokenizeError(
            f"the tokenizer ({type(tokenizer).__name__}) has no fast version (tokenizer.json), which tokenizing needs"
        )
    return backend


def check_context(context_length: int, limit: int, where: str) -> None:
    """Raises TokenizeError if rows of `context_length` are longer than a model's `limit`."""
    if context_length > limit:
        raise TokenizeError(f"context_length {context_length} is longer than {where} takes: set it to {limit} or less")


def check_vocabulary(highest: int, embeddings: int | None, where: str) -> None:
    """Raises TokenizeError if the text has a token id that a model has no embedding for."""
    if embeddings is not None and highest >= embeddings:
        raise TokenizeError(
            f"the text has token id {highest}, but {where} has embeddings for ids below {embeddings}: its tokenizer "
            f"and its weights do not belong together"
        )
