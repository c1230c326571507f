"""Tokens of chats: each has the speaker of its characters, on the templates of many models and several tokenizers."""

from __future__ import annotations

import itertools
import json
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from configs.tokenize import TokenizeConfig
from sae.formats.artifact_files import LocalFiles
from sae.formats.dataset import DatasetInfo, Message
from sae.formats.tokens import OTHER_SPEAKER, Role, Speaker, TokensError, TokensInfo, TokensReader, load_info
from sae.text.chat_messages import plain_text
from sae.text.chat_plain import render_plainly
from sae.text.chat_tokens import SpokenTokens, chat_rendering, encode_documents, token_speakers
from sae.text.flat_tokens import open_flat
from sae.text.packing import ShardCounts, pack_shard
from sae.text.row_search import RowQuery, RowTexts, find_rows
from sae.text.shard_layout import row_length, split_layouts, split_shards
from sae.text.statistics import tokens_info
from sae.text.tokenizer_spec import TokenizeError, read_tokenizer_spec
from tests.sae.chat_templates import CASES, CHATML, LLAMA_2, Chars
from tests.sae.test_text_chat_template import chats, plain_content
from tests.sae.test_text_packing import settings_of
from tests.sae.tokenized_chunk import tokenize_chunk

SPECIAL = [
    "<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>",
    "<start_of_turn>", "<end_of_turn>", "<|user|>", "<|assistant|>", "<|end|>", "<｜User｜>", "<｜Assistant｜>",
]  # fmt: skip
CORPUS = [
    "user\nassistant\nsystem\n: The captain steers the grey boat [INST] past [/INST] the light.",
    "  two  spaces\n\n{{ x }} <s> a </s> <|im_end|>\n<|im_start|>user\n naïve 東京 ß",
] * 4
KINDS = ("bytes", "normalized bytes", "metaspace", "first metaspace", "llama")
DATED = "{{ bos_token }}{{ strftime_now('%d %b %Y') }}{% for message in messages %}{{ message.content }}{% endfor %}"
MIXED = [
    Message("system", "Be brief."),
    Message("user", "Hi </s> you"),
    Message("assistant", "Hello."),
    Message("tool", "3"),
]


@cache
def tokenizer(kind: str, template: str | None, adds_bos: bool = False) -> PreTrainedTokenizerFast:
    """A small trained tokenizer with the special tokens of many templates."""
    from tokenizers import processors

    backend, trainer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=kind == "llama")), {}
    if "bytes" in kind:
        backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        backend.post_processor = processors.ByteLevel(trim_offsets=True)
        trainer = {"initial_alphabet": pre_tokenizers.ByteLevel.alphabet()}
        if kind != "bytes":
            backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    elif kind == "llama":
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        scheme = "first" if kind.startswith("first") else "always"
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=kind == "metaspace")
    special = {"special_tokens": SPECIAL, "show_progress": False}
    backend.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=420, **special, **trainer))
    if adds_bos:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    whole = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    whole.chat_template = template
    return whole


INFO = DatasetInfo(1, 1, {"train": {"documents": 1}}, ["messages"], {})


def encode(
    whole: PreTrainedTokenizerFast,
    documents: list[list[Message] | str],
    infos: tuple[DatasetInfo, ...] = (INFO,),
    **options: Any,
) -> list[SpokenTokens]:
    config = settings_of(64, **options)
    rendering = chat_rendering(whole, config, infos, "datasets/x")
    assert rendering is not None
    texts = [one if isinstance(one, str) else plain_text(one) for one in documents]
    messages = [None if isinstance(one, str) else [message._asdict() for message in one] for one in documents]
    return encode_documents(texts, messages, range(len(texts)), read_tokenizer_spec(whole, config), rendering)


def byte_tokens(whole: PreTrainedTokenizerFast, ids: list[int]) -> list[bytes]:
    """The bytes that each token of a byte-level tokenizer stands for."""
    decoder = {character: byte for byte, character in _bytes_to_characters().items()}
    names = whole.convert_ids_to_tokens(ids)
    return [name.encode() if name in SPECIAL else bytes(decoder[character] for character in name) for name in names]


def _bytes_to_characters() -> dict[int, str]:
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {byte: chr(byte) for byte in shown} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}


def expected_special(chars: Chars) -> list[str]:
    """Names of special tokens in the stretches of text that the template writes, from left to right."""
    found, text, i = [], "".join(character for character, _ in chars), 0
    while i < len(text):
        fits = [n for n in SPECIAL if text.startswith(n, i) and {r for _, r in chars[i : i + len(n)]} == {"template"}]
        found += [max(fits, key=len)] if fits else []
        i += max(map(len, fits), default=1)
    return found


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_token_has_the_speaker_of_its_bytes(name: str, data: st.DataObject) -> None:
    case = CASES[name]
    whole = tokenizer("bytes", case.template)
    messages = data.draw(chats(case.system, plain_content))
    chars = case.rendered(messages, False)
    (found,) = encode(whole, [messages])
    pieces = byte_tokens(whole, found.ids.tolist())
    assert b"".join(pieces) == "".join(character for character, _ in chars).encode(), "no character lost or doubled"
    speakers = [role for character, role in chars for _ in character.encode()]
    at = 0
    for piece, speaker in zip(pieces, found.speakers.tolist(), strict=True):
        # A byte belongs to its character, so a part of a character counts as the whole of it: they have one speaker.
        said = set(speakers[at : at + len(piece)])
        assert Speaker(speaker).name.lower() == (said.pop() if len(said) == 1 else "template")
        at += len(piece)
    special = [
        whole.convert_ids_to_tokens(id) for id in found.ids.tolist() if id in whole.all_special_ids + special_ids(whole)
    ]
    assert special == expected_special(chars), "those of the template alone"


def special_ids(whole: PreTrainedTokenizerFast) -> list[int]:
    return [whole.convert_tokens_to_ids(name) for name in SPECIAL]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["ChatML", "Llama 2", "Llama 3", "Gemma", "Zephyr"])
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_the_ids_are_those_of_transformers(kind: str, name: str, data: st.DataObject) -> None:
    case = CASES[name]
    whole = tokenizer(kind, case.template)
    words = st.lists(
        st.sampled_from([" ", "\n", "The captain", "ß", "東京", "😀", "user", "<", "|>", "[INST]"]), max_size=5
    )
    messages = data.draw(chats(case.system, words.map("".join)))
    plain = [{"role": message.role, "content": message.content} for message in messages]
    (found,) = encode(whole, [messages])
    assert found.ids.tolist() == whole.apply_chat_template(plain, return_dict=False)
    # Their speakers, by the places that transformers gives; ByteLevel's trim white space off, so those are left to above.
    text = whole.apply_chat_template(plain, tokenize=False)
    roles = [role for _, role in case.rendered(messages, False)]
    places = whole(text, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
    for (start, stop), speaker in zip(places, found.speakers.tolist(), strict=True):
        if "bytes" not in kind and start < stop:
            said = set(roles[start:stop])
            assert Speaker(speaker).name.lower() == (said.pop() if len(said) == 1 else "template")


@given(st.lists(st.integers(1, 6), max_size=12), st.lists(st.tuples(st.integers(0, 11), st.integers(0, 5)), max_size=8))
def test_speakers_of_places(codes: list[int], places: list[tuple[int, int]]) -> None:
    inside = [(start, min(start + length, len(codes))) for start, length in places if start < len(codes)]
    found = token_speakers(np.array(inside, np.int64).reshape(-1, 2), np.array(codes, np.uint8))
    for (start, stop), speaker in zip(inside, found.tolist(), strict=True):
        said = set(codes[start : max(stop, start + 1)])
        assert speaker == (said.pop() if len(said) == 1 else Speaker.TEMPLATE)


def strings(whole: PreTrainedTokenizerFast, tokens: SpokenTokens) -> list[tuple[str, str]]:
    names = whole.convert_ids_to_tokens(tokens.ids.tolist())
    return [(name, Speaker(code).name.lower()) for name, code in zip(names, tokens.speakers.tolist(), strict=True)]


def test_names_of_special_tokens_in_messages_stay_text_unless_they_are_wanted() -> None:
    whole = tokenizer("bytes", LLAMA_2)
    messages = [Message("user", "a </s> b"), Message("assistant", "c")]
    (as_text,) = encode(whole, [messages])
    assert [one for one in strings(whole, as_text) if one[0] == "</s>"] == [("</s>", "template")]
    (as_token,) = encode(whole, [messages], special_strings="special")
    assert [one for one in strings(whole, as_token) if one[0] == "</s>"] == [("</s>", "user"), ("</s>", "template")]


def test_a_name_that_message_and_template_make_together_is_text() -> None:
    whole = tokenizer("bytes", "{% for message in messages %}{{ message.content }}|>{% endfor %}")
    (found,) = encode(whole, [[Message("user", "<|im_end")]])
    assert whole.convert_tokens_to_ids("<|im_end|>") not in found.ids.tolist()
    assert whole.decode(found.ids.tolist()) == "<|im_end|>"


@pytest.mark.parametrize("kind", KINDS)
def test_bos_of_the_template_is_not_doubled(kind: str) -> None:
    messages = [Message("user", "a"), Message("assistant", "b")]
    for adds in (False, True):
        whole = tokenizer(kind, LLAMA_2, adds)
        (found,) = encode(whole, [messages])
        assert (strings(whole, found)[0] == ("<s>", "template")) is not adds
        (again,) = encode(whole, [messages], bos="never")
        assert strings(whole, again)[0] == ("<s>", "template")
        (text,) = encode(whole, ["<s> a"], special_strings="special")
        assert text.ids[0] == whole.bos_token_id, "a document's own text is left as it is"


def test_white_space_that_special_tokens_take_and_templates_by_name() -> None:
    backend = Tokenizer.from_str(tokenizer("bytes", None).backend_tokenizer.to_str())
    backend.add_special_tokens(
        [AddedToken("<|stop|>", rstrip=True, normalized=True), AddedToken("<|go|>", lstrip=True)]
    )
    whole = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    turns = "{% for message in messages %} <|go|>{{ message.content }}<|stop|> \n{% endfor %}{{ unk_token }}"
    whole.chat_template = {"default": turns, "tool_use": "other"}
    messages = [Message("user", " a <|stop|> b "), Message("assistant", " c")]
    (found,) = encode(whole, [messages])
    assert [name for name, _ in strings(whole, found) if name.startswith("<") and len(name) > 1] == [
        "<|go|>", "<|stop|>", "<|go|>", "<|stop|>", "<unk>",
    ]  # fmt: skip
    plain = [{"role": "user", "content": " a b "}, {"role": "assistant", "content": " c"}]
    (found,) = encode(whole, [[Message(**one) for one in plain]])
    assert found.ids.tolist() == whole.apply_chat_template(plain, return_dict=False)


def test_plainly_it_is_the_text_of_the_dataset() -> None:
    whole = tokenizer("bytes", CHATML)
    messages = [*MIXED, Message("assistant", "<think>so</think>ok", "hm", '[{"name": "f"}]')]
    assert render_plainly(messages).text == plain_text(messages)
    (found,) = encode(whole, [messages], chat="plain")
    text = plain_text(messages)
    assert found.ids.tolist() == whole(text, add_special_tokens=False, split_special_tokens=True).input_ids
    assert whole.decode(found.ids.tolist()) == text
    by_speaker = {name: "" for name in ("system", "user", "assistant", "tool", "thinking", "template")}
    for span in render_plainly(messages).spans:
        by_speaker[span.role] += text[span.start : span.stop] + "|"
    assert by_speaker["system"] == "Be brief.|" and by_speaker["user"] == "Hi </s> you|" and by_speaker["tool"] == "3|"
    assert by_speaker["assistant"] == 'Hello.|ok|[{"name": "f"}]|' and by_speaker["thinking"] == "hm|<think>so</think>|"
    assert "assistant (tool calls): |" in by_speaker["template"]
    assert set(found.speakers.tolist()) >= {Speaker.SYSTEM, Speaker.USER, Speaker.ASSISTANT, Speaker.THINKING}


def test_without_a_template_chats_are_plain_by_default() -> None:
    (found,) = encode(tokenizer("bytes", None), [MIXED])
    assert tokenizer("bytes", None).decode(found.ids.tolist()) == plain_text(MIXED)
    (found,) = encode(tokenizer("bytes", CHATML), [MIXED])
    assert "<|im_start|>" in tokenizer("bytes", CHATML).convert_ids_to_tokens(found.ids.tolist())


def test_what_is_refused() -> None:
    no_chats = INFO.__class__(1, 1, {}, ["author"], {})
    rendering = chat_rendering(tokenizer("bytes", CHATML), settings_of(64), [no_chats], "datasets/x")
    assert rendering is None
    for options in ({"chat": "template"}, {"chat_date": "2024-07-26"}):
        with pytest.raises(TokenizeError, match="but datasets/x has no chats: leave it out, or download chats"):
            chat_rendering(tokenizer("bytes", CHATML), settings_of(64, **options), [no_chats], "datasets/x")
        with pytest.raises(TokenizeError, match="the tokenizer has no chat template: set `chat: plain`"):
            chat_rendering(tokenizer("bytes", None), settings_of(64, **options), [INFO], "datasets/x")
    with pytest.raises(ValueError, match="`chat_date` is for a chat template; with `chat: plain` leave it out"):
        settings_of(64, chat="plain", chat_date="2024-07-26")
    with pytest.raises(TokenizeError, match=r"document 1 holds U\+10FFFC or U\+10FFFD, private characters"):
        encode(tokenizer("bytes", CHATML), [MIXED, [Message("user", "\U0010fffc0\U0010fffd")]])
    with pytest.raises(
        TokenizeError, match="document 0: the chat template does not take this chat: Conversation roles must"
    ):
        encode(tokenizer("bytes", LLAMA_2), [[Message("assistant", "first")]])


def test_the_date_of_a_template() -> None:
    whole = tokenizer("bytes", DATED)
    with pytest.raises(TokenizeError, match=r"document 0: .*(?s:.*)set `chat: plain`"):
        encode(whole, [MIXED])
    (found,) = encode(whole, [MIXED], chat_date=date(2024, 7, 26))
    assert whole.decode(found.ids.tolist()).startswith("<s>26 Jul 2024Be brief.")


def test_documents_that_are_no_chats_have_no_speaker() -> None:
    whole = tokenizer("bytes", CHATML)
    chat, text = encode(whole, [MIXED, "Hi </s> you"])
    assert set(text.speakers.tolist()) == {Speaker.NONE} and Speaker.NONE not in chat.speakers
    assert whole.convert_tokens_to_ids("</s>") not in text.ids.tolist()


def tokens_of(
    folder: Path, documents: list[list[Message] | str], **options: Any
) -> tuple[PreTrainedTokenizerFast, TokensInfo]:
    """Both passes of the stage over chats, in this process."""
    whole = tokenizer("bytes", CHATML)
    config: TokenizeConfig = settings_of(16, rows_per_shard=3, **options)
    spec = read_tokenizer_spec(whole, config)
    rows = [None if isinstance(one, str) else [message._asdict() for message in one] for one in documents]
    table = pa.table({
        "doc": range(len(documents)), "split": ["train"] * len(documents),
        "text": [one if isinstance(one, str) else plain_text(one) for one in documents],
        "messages": pa.array(rows, pa.list_(pa.struct([(name, pa.string()) for name in Message._fields]))),
    })  # fmt: skip
    rendering = chat_rendering(whole, config, [INFO], "datasets/x")
    counts = [tokenize_chunk(table, spec, folder / "chunk", chats=rendering)]
    (layout,) = split_layouts(counts, spec, config)
    length, positions = row_length([layout], config), ShardCounts([0] * len(Role), [0] * len(Speaker))
    for shard in split_shards(layout, config.rows_per_shard):
        path = folder / f"train-{shard.number:05d}.parquet"
        flat = open_flat(folder / "chunk")
        positions = positions.add(pack_shard(shard, layout, lambda _, flat=flat: flat, spec, length, config, path))
    tokens_info(config, spec, counts, [layout], {"train": positions}).save(folder / "tokens.json")
    return whole, load_info(LocalFiles(folder))


OPTIONS: list[dict[str, Any]] = [
    {}, {"packing": "best_fit", "padding": "none", "padding_side": "left"}, {"packing": "off", "stride": 3, "bos": "always"},
    {"padding": "none"}, {"separator": "none", "padding": "longest"},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_rows_keep_the_speakers_and_count_them(tmp_path: Path, options: dict[str, Any]) -> None:
    documents: list[list[Message] | str] = [MIXED, "only a text, of nobody", *[[*MIXED, *MIXED[1:]]] * 4]
    whole, info = tokens_of(tmp_path, documents, **options)
    spoken = encode(whole, documents, **options)
    reader = TokensReader(LocalFiles(tmp_path), "train")
    rows = reader.read(0, reader.n_rows)
    own = np.isin(rows.roles, (Role.DATA, Role.SPECIAL, Role.BOUNDARY))
    assert set(rows.speakers[np.isin(rows.roles, (Role.BOS, Role.SEPARATOR, Role.PAD))].tolist()) <= {Speaker.NONE}
    found: dict[int, list[tuple[int, int]]] = {}
    for id, speaker, doc in zip(rows.input_ids[own], rows.speakers[own], rows.document[own], strict=True):
        found.setdefault(int(doc), []).append((int(id), int(speaker)))
    for doc, tokens in enumerate(spoken):
        assert sorted(found[doc]) == sorted(zip(tokens.ids.tolist(), tokens.speakers.tolist(), strict=True))
    names = [speaker.name.lower() for speaker in Speaker]
    counts = {name: sum(int((tokens.speakers == code).sum()) for tokens in spoken) for code, name in enumerate(names)}
    assert info.splits["train"]["speakers"] == info.statistics["speakers"] == counts
    texts = RowTexts(_Texts())
    items = find_rows(LocalFiles(tmp_path), RowQuery(), texts, limit=reader.n_rows).items
    for row, item in enumerate(items):
        kept = slice(None) if len(item["ids"]) == rows.input_ids.shape[1] else rows.roles[row] != Role.PAD
        assert item["speakers"] == [names[code] for code in rows.speakers[row][kept].tolist()]


class _Texts:
    def piece(self, token: int) -> bytes:
        return b"x"


def test_other_speakers_are_no_data(tmp_path: Path) -> None:
    tokens_of(tmp_path, [MIXED] * 5)
    every = TokensReader(LocalFiles(tmp_path), "train")
    rows = every.read(0, every.n_rows)
    some = TokensReader(LocalFiles(tmp_path), "train", ("assistant", "tool")).read(0, every.n_rows)
    wanted = np.isin(rows.speakers, (Speaker.ASSISTANT, Speaker.TOOL))
    assert ((some.roles == Role.DATA) == ((rows.roles == Role.DATA) & wanted)).all()
    left_out = np.isin(rows.roles, (Role.DATA, Role.SPECIAL)) & ~wanted
    assert ((some.roles == OTHER_SPEAKER) == left_out).all() and left_out.any()
    same = ~left_out
    assert (some.roles[same] == rows.roles[same]).all() and (some.input_ids == rows.input_ids).all()


def test_speakers_are_refused_of_tokens_without_chats(tmp_path: Path) -> None:
    tokens_of(tmp_path, [MIXED])
    content = json.loads((tmp_path / "tokens.json").read_text())
    del content["splits"]["train"]["speakers"]
    (tmp_path / "tokens.json").write_text(json.dumps(content))
    reader = TokensReader(LocalFiles(tmp_path), "train")
    assert not reader.read(0, reader.n_rows).speakers.any()
    with pytest.raises(TokensError, match=r"the data policy wants speakers \(user\), but these tokens are of no chats"):
        TokensReader(LocalFiles(tmp_path), "train", ("user",))


def test_tools_and_variables_of_a_row_reach_the_template(tmp_path: Path) -> None:
    template = (
        "{% for tool in tools or [] %}[{{ tool.name }}]{% endfor %}{% if brief %}brief {% endif %}"
        "{% for message in messages %}{{ message.content }}{% endfor %}"
    )
    whole = tokenizer("bytes", template)
    messages = [[Message("user", "Hi")._asdict()]] * 2
    variables = [json.dumps({"tools": [{"name": "add"}], "brief": True}), None]
    table = pa.table({
        "doc": [0, 1], "split": ["train"] * 2, "text": pa.array(["user: Hi"] * 2, pa.large_string()),
        "messages": messages, "template_variables": variables,
    })  # fmt: skip
    config = settings_of(64)
    rendering = chat_rendering(whole, config, (INFO,), "datasets/x")
    spec = read_tokenizer_spec(whole, config)
    tokenize_chunk(table, spec, tmp_path / "flat", chats=rendering)
    flat = open_flat(tmp_path / "flat")
    texts = [whole.decode(flat.tokens[a:b], skip_special_tokens=True) for a, b in itertools.pairwise(flat.ends)]
    assert texts == ["[add]brief Hi", "Hi"]
    assert flat.speakers is not None
    (spoken,) = {Speaker(code).name for code in flat.speakers[flat.ends[1] - 3 : flat.ends[1] - 1]}
    assert spoken == "USER"
    with pytest.raises(TokenizeError, match="document 4: a template variable must not be named 'chat_template'"):
        encode_documents([""], messages[:1], [4], spec, rendering, [json.dumps({"chat_template": "x"})])
