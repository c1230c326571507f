"""What is read off tokenizers that behave differently, and what is refused before any work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from configs.data_positions import DataPolicy
from configs.tokenize import TokenizeConfig
from sae.calibration import candidate_mask
from sae.formats.tokens import Role
from sae.text.flat_tokens import open_flat
from sae.text.tokenizer_spec import TokenizeError, TokenizerSpec, check_context, check_vocabulary, read_tokenizer_spec
from tests.sae.tokenized_chunk import tokenize_chunk

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
    for special_strings, options in (("special", {}), ("text", {"split_special_tokens": True})):
        counts = tokenize_chunk(table, read(whole, special_strings=special_strings), tmp_path / special_strings)
        flat = open_flat(tmp_path / special_strings)
        expected = [whole(text, add_special_tokens=False, **options).input_ids for text in texts if text]
        assert flat.doc.tolist() == [4, 5, 7]
        assert flat.tokens.tolist() == [i for ids in expected for i in [*ids, whole.eos_token_id]]
        assert flat.roles.tolist().count(Role.SEPARATOR) == 3
        # The one inside a text has the id of separators and a role of its own; as text it is no special token at all.
        inside = int(special_strings == "special")
        assert flat.roles.tolist().count(Role.BOUNDARY) == counts.splits["train"].boundary == inside


def as_llama3(folder: Path, config: dict[str, Any] | None = None, named: dict[str, Any] | None = None) -> Path:
    """A folder with a tokenizer.json whose added tokens are special and named by no file, unless `named`."""
    words = ["a", "b", "<unk>", "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(words[3:])
    backend.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 3)]
    )
    folder.mkdir()
    backend.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **(config or {})}))
    if named is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(named))
    return folder


def test_a_tokenizer_json_alone_has_bos_and_eos(tmp_path: Path) -> None:
    from sae.language_model import load_tokenizer

    spec = read(load_tokenizer(as_llama3(tmp_path / "usual")))
    assert (spec.row_bos, spec.separator, spec.special_ids, spec.boundary_ids) == (3, 4, (3, 4, 5), (3, 4))
    # The model's own config goes before usual names, if it gives a special token's id: 1 is Llama's default, and text.
    spec = read(load_tokenizer(as_llama3(tmp_path / "config", {"bos_token_id": 1, "eos_token_id": [5, 4]})))
    assert (spec.row_bos, spec.separator) == (3, 5)
    spec = read(load_tokenizer(as_llama3(tmp_path / "named", named={"bos_token": None, "eos_token": "<|eot_id|>"})))
    assert (spec.row_bos, spec.separator) == (None, 5)
    with pytest.raises(TokenizeError, match=r"no EOS token: set separator to .*, or name its eos_token in"):
        read(load_tokenizer(as_llama3(tmp_path / "none", named={"eos_token": None})))


def test_bos_eos_and_pad_inside_a_text_are_never_data(tmp_path: Path) -> None:
    from sae.language_model import load_tokenizer

    spec = read(load_tokenizer(as_llama3(tmp_path / "model")), special_strings="special")
    texts = ["<|begin_of_text|> a <|eot_id|> b <|end_of_text|> <unk>"]
    tokenize_chunk(pa.table({"doc": [0], "split": ["train"], "text": texts}), spec, tmp_path / "flat")
    roles = open_flat(tmp_path / "flat").roles
    names = [Role(role).name for role in roles]
    assert names == ["BOUNDARY", "DATA", "SPECIAL", "DATA", "BOUNDARY", "DATA", "SEPARATOR"]
    mask = candidate_mask(torch.from_numpy(roles.copy()), DataPolicy(include_special=True))
    assert mask.tolist() == [False, True, True, True, False, True, False]


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
