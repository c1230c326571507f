"""What is read off tokenizers that behave differently, and what is refused before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from configs.tokenize import TokenizeConfig
from sae.text.flat_tokens import open_flat, tokenize_chunk
from sae.text.tokenizer_spec import TokenizeError, TokenizerSpec, check_context, check_vocabulary, read_tokenizer_spec

WORDS = ["<s>", "</s>", "<pad>", "<unk>", "a", "b", "c"]


def tokenizer(adds_bos: bool = False, **names: str) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words; `names` gives bos_token, eos_token, pad_token."""
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if adds_bos:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", **names)


def read(tokenizer: Any, embeddings: int | None = None, **options: Any) -> TokenizerSpec:
    config = TokenizeConfig(dataset="datasets/" + "0" * 16, model="models/" + "0" * 16, **options)
    return read_tokenizer_spec(tokenizer, config, embeddings)


def test_bos_of_id_zero_counts_and_is_found_by_trying() -> None:
    assert read(tokenizer(adds_bos=True, bos_token="<s>", eos_token="</s>")).row_bos == 0
    assert read(tokenizer(bos_token="<s>", eos_token="</s>")).row_bos is None
    assert read(tokenizer(bos_token="<s>", eos_token="</s>"), bos="always").row_bos == 0
    assert read(tokenizer(adds_bos=True, bos_token="<s>", eos_token="</s>"), bos="never").row_bos is None


def test_separators() -> None:
    both = tokenizer(bos_token="<s>", eos_token="</s>")
    assert [read(both, separator=s).separator for s in ("eos", "bos", "none")] == [1, 0, None]
    with pytest.raises(
        TokenizeError, match=r"`separator: eos`, but the tokenizer has no EOS .* set separator to bos or none"
    ):
        read(tokenizer(bos_token="<s>"))
    with pytest.raises(TokenizeError, match="no BOS token: set separator to eos or none"):
        read(tokenizer(eos_token="</s>"), separator="bos")
    with pytest.raises(TokenizeError, match="`bos: always`, but the tokenizer has no BOS"):
        read(tokenizer(eos_token="</s>"), bos="always")


def test_padding_without_a_pad_token() -> None:
    assert read(tokenizer(eos_token="</s>", pad_token="<pad>")).pad_id == 2
    assert read(tokenizer(eos_token="</s>", pad_token="</s>")).pad_id == 1
    assert read(tokenizer(eos_token="</s>")).pad_id == 1
    assert read(tokenizer(), separator="none").pad_id == 0


def test_ids_and_specials() -> None:
    spec = read(tokenizer(bos_token="<s>", eos_token="</s>"))
    assert (spec.vocab_size, spec.id_limit, spec.special_ids) == (7, 7, (0, 1, 3))


def test_the_worker_encodes_as_the_tokenizer_does(tmp_path: Path, tiny_gpt2: Path) -> None:
    from sae.language_model import load_tokenizer

    whole = load_tokenizer(tiny_gpt2)
    texts = ["The captain steers the grey boat.\n\n Then é", "two <|endoftext|> parts", "", "x" * 3000]
    table = pa.table({"doc": [4, 5, 6, 7], "split": ["train"] * 4, "text": texts})
    counts = tokenize_chunk(table, read(whole), tmp_path / "flat")
    flat = open_flat(tmp_path / "flat")
    expected = [whole(text, add_special_tokens=False).input_ids for text in texts if text]
    assert flat.doc.tolist() == [4, 5, 7]
    assert flat.tokens.tolist() == [i for ids in expected for i in [*ids, whole.eos_token_id]]
    assert counts.splits["train"].special == 1
    assert flat.roles.tolist().count(2) == 1  # the one inside a text; separators have the same id and another role
    assert flat.roles.tolist().count(3) == 3


def test_checks_before_the_work() -> None:
    check_context(128, 128, "models/x")
    with pytest.raises(TokenizeError, match="context_length 129 is longer than models/x takes: set it to 128 or less"):
        check_context(129, 128, "models/x")
    check_vocabulary(99, 100, "models/x")
    check_vocabulary(99, None, "models/x")
    with pytest.raises(TokenizeError, match="token id 100, but models/x has embeddings for ids below 100"):
        check_vocabulary(100, 100, "models/x")


def test_every_id_that_is_put_in_is_one_that_the_model_knows() -> None:
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    assert read(tokenizer(**names)).pad_id == 2
    assert read(tokenizer(**names), embeddings=2).pad_id == 1  # <pad> was added, the embedding was not resized
    with pytest.raises(TokenizeError, match=r"the separator token has id 1, .* ids below 1: set separator to none"):
        read(tokenizer(**names), embeddings=1)
    with pytest.raises(TokenizeError, match=r"the BOS token has id 4, .* ids below 2: set bos to never"):
        read(tokenizer(bos_token="a", eos_token="</s>"), embeddings=2, bos="always")
