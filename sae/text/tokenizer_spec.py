"""What must be known of a tokenizer to make rows, and the checks that come before any work."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from configs.tokenize import TokenizeConfig


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
    tokenizer_json: str  # the tokenizer's own JSON: all that a worker needs to encode


def read_tokenizer_spec(
    tokenizer: TokenizerLike, config: TokenizeConfig, embeddings: int | None = None
) -> TokenizerSpec:
    """Reads a tokenizer under a config. `embeddings`: how many token ids the model knows.

    Raises TokenizeError where the config asks for a token that the tokenizer, or the model, has not.
    """
    bos, eos, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    separator = {"eos": eos, "bos": bos, "none": None}[config.separator]
    if config.separator != "none" and separator is None:
        others = [name for name, token in (("eos", eos), ("bos", bos)) if token is not None]
        raise TokenizeError(
            f"`separator: {config.separator}`, but the tokenizer has no {config.separator.upper()} token: "
            f"set separator to {' or '.join([*others, 'none'])}"
        )
    if config.bos == "always" and bos is None:
        raise TokenizeError("`bos: always`, but the tokenizer has no BOS token: set bos to tokenizer or never")
    adds = config.bos == "always" or (config.bos == "tokenizer" and _adds_bos(tokenizer))
    for what, token in (("BOS", bos if adds else None), ("separator", separator)):
        if embeddings is not None and token is not None and token >= embeddings:
            raise TokenizeError(
                f"the {what} token has id {token}, but the model has embeddings for ids below {embeddings}: set "
                f"{what.lower()} to {'never' if what == 'BOS' else 'none'}, or take a model that knows it"
            )
    # The id in padded places; the role says that they are padding, and the model must know the id.
    known = [one for one in (pad, eos, 0) if one is not None and (embeddings is None or one < embeddings)]
    pad = known[0]
    special = tuple(sorted(set(tokenizer.all_special_ids)))
    limit = 1 + max([*tokenizer.get_vocab().values(), *special, pad])
    return TokenizerSpec(
        len(tokenizer), limit, bos, eos, pad, bos if adds else None, separator, special, _tokenizer_json(tokenizer)
    )


def _adds_bos(tokenizer: TokenizerLike) -> bool:
    """Whether the tokenizer itself begins a text with BOS. Tried, for its settings do not always say so."""
    bos = tokenizer.bos_token_id
    plain = tokenizer.encode("a", add_special_tokens=False)
    whole = tokenizer.encode("a", add_special_tokens=True)
    return bos is not None and len(whole) > len(plain) and whole[0] == bos


def _tokenizer_json(tokenizer: TokenizerLike) -> str:
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise TokenizeError(
            f"the tokenizer ({type(tokenizer).__name__}) has no fast version (tokenizer.json), which tokenizing needs"
        )
    return str(backend.to_str())


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
