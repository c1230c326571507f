"""Rendered chats and who wrote which character, compared with renderings that are written again in Python."""

from __future__ import annotations

import json
from datetime import date
from itertools import groupby
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from sae.formats.dataset import Message
from sae.text.chat_messages import ChatError
from sae.text.chat_template import RenderedChat, RoleSpan, render_chat
from sae.text.chat_traced_text import TEXT_ROLES, UntraceableError
from tests.sae.chat_templates import (
    BOS,
    CASES,
    EOS,
    GENERATION,
    MISTRAL_TOOLS,
    QWEN_3,
    Chars,
    by_template,
    mistral_tools,
    qwen_3,
    said,
)


def tokenizer_of(template: str | None) -> PreTrainedTokenizerFast:
    """A tokenizer with a token for each byte."""
    vocabulary = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=BOS, eos_token=EOS)
    tokenizer.chat_template = template
    return tokenizer


TOKENIZERS = {name: tokenizer_of(case.template) for name, case in CASES.items()}
QWEN, TOOLS = tokenizer_of(QWEN_3), tokenizer_of(MISTRAL_TOOLS)

# White space that templates strip, what templates look for, and what they write themselves.
PIECES = [
    " ", "\n", "\n\n", "\u3000", "a", "user", "ß", "😀", "<s>", "</s>", "<|im_end|>\n", "[/INST]", "<<SYS>>\n", "{{ x }}",
    "<start_of_turn>model\n", "<|user|>", "assistant", '"', "\\", "{}", "<|eot_id|>", "<｜User｜>",
]  # fmt: skip
TAGS = ["<think>", "</think>", "<tool_response>", "</tool_response>"]
plain_content = st.lists(st.sampled_from(PIECES), max_size=6).map("".join) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=8
)
content = st.lists(st.sampled_from([*PIECES, *TAGS]), max_size=8).map("".join)


@st.composite
def chats(draw: st.DrawFn, system: bool = True, texts: st.SearchStrategy[str] = content) -> list[Message]:
    """A system message perhaps, then user and assistant in turn."""
    first = [Message("system", draw(texts))] if system and draw(st.booleans()) else []
    turns = draw(st.integers(1, 5))
    return first + [Message(("user", "assistant")[i % 2], draw(texts)) for i in range(turns)]


def spans_of(chars: Chars) -> tuple[RoleSpan, ...]:
    spans, start = [], 0
    for role, run in groupby(role for _, role in chars):
        stop = start + len(list(run))
        spans.append(RoleSpan(start, stop, role))  # type: ignore[arg-type]
        start = stop
    return tuple(spans)


def same(rendered: RenderedChat, chars: Chars) -> bool:
    assert rendered.text == "".join(character for character, _ in chars)
    assert rendered.spans == spans_of(chars)
    return True


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_spans_are_those_of_the_template(name: str, data: st.DataObject) -> None:
    case, tokenizer = CASES[name], TOKENIZERS[name]
    messages, prompt = data.draw(chats(case.system)), data.draw(st.booleans())
    rendered = render_chat(tokenizer, messages, add_generation_prompt=prompt, thinking_tags=None)
    assert same(rendered, case.rendered(messages, prompt))
    plain = [{"role": message.role, "content": message.content} for message in messages]
    assert rendered.text == tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=prompt)
    assert type(rendered.text) is str


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**12) | st.floats(-9, 9) | plain_content,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(plain_content, inner, max_size=2),
    max_leaves=5,
)
arguments = st.dictionaries(st.sampled_from(["a", "b", "ß"]), values, max_size=3)
calls = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.just("function"),
            "function": st.fixed_dictionaries({"name": st.sampled_from(["f", "g\n"]), "arguments": arguments | st.just("{}")}),
            "id": st.just("abcdefghi"),
        }
    ),
    max_size=2,
).map(lambda found: json.dumps(found) if found else None)  # fmt: skip
tools = st.lists(
    st.fixed_dictionaries(
        {"type": st.just("function"), "function": st.fixed_dictionaries({"name": st.just("f"), "parameters": arguments})}
    ),
    min_size=1,
    max_size=2,
)  # fmt: skip


@st.composite
def tool_chats(draw: st.DrawFn) -> list[Message]:
    messages = [Message("user", draw(plain_content))]
    for _ in range(draw(st.integers(0, 5))):
        match draw(st.sampled_from(["user", "assistant", "thinking", "tool"])):
            case "user":
                messages.append(Message("user", draw(plain_content)))
            case "tool":
                messages.append(Message("tool", draw(plain_content), tool_call_id="abcdefghi"))
            case kind:
                thinking = draw(plain_content) if kind == "thinking" else None
                messages.append(Message("assistant", draw(plain_content), thinking, draw(calls)))
    return messages


@settings(max_examples=200, deadline=None)
@given(tool_chats(), tools | st.just([]), st.booleans(), st.booleans())
def test_thinking_and_tools_of_qwen_3(
    messages: list[Message], tools: list[dict[str, Any]], prompt: bool, system: bool
) -> None:
    messages = [Message("system", "Be\n brief. ")] * system + messages
    assert same(render_chat(QWEN, messages, tools, add_generation_prompt=prompt), qwen_3(messages, prompt, tools))


@settings(max_examples=200, deadline=None)
@given(tool_chats(), tools)
def test_tools_of_mistral(messages: list[Message], tools: list[dict[str, Any]]) -> None:
    assert same(render_chat(TOOLS, messages, tools), mistral_tools(messages, tools))


@settings(max_examples=200, deadline=None)
@given(plain_content, plain_content, st.sampled_from(["", "<think>", "<think>\n"]), plain_content)
def test_thinking_inside_the_content(before: str, thought: str, start: str, answer: str) -> None:
    assume("think>" not in before + thought + answer)
    content = f"{before}{start}{thought}</think>{answer}"
    outside = said("assistant", before) if start else said("thinking", before)
    thinking = said("thinking", f"{start}{thought}</think>")
    messages = [Message("user", "Q"), Message("assistant", content), Message("user", "<think>not this</think>")]
    head = by_template("<|im_start|>user\n") + said("user", "Q") + by_template("<|im_end|>\n<|im_start|>assistant\n")
    tail = (
        by_template("<|im_end|>\n<|im_start|>user\n") + said("user", messages[2].content) + by_template("<|im_end|>\n")
    )
    rendered = render_chat(TOKENIZERS["ChatML"], messages)
    assert same(rendered, head + outside + thinking + said("assistant", answer) + tail)
    # Qwen takes it apart and writes the tags itself: only what was thought is thinking then.
    qwen = render_chat(QWEN, messages[:2])
    written = (start.removeprefix("<think>") + thought if start else before + thought).strip("\n")
    chars = head + by_template("<think>\n") + said("thinking", written) + by_template("\n</think>\n\n")
    assert same(qwen, chars + said("assistant", answer.lstrip("\n")) + by_template("<|im_end|>\n"))


def test_tags_that_are_never_closed_and_other_tags() -> None:
    messages = [Message("user", ""), Message("assistant", "Well. <think>hm"), Message("user", "")]
    rendered = render_chat(TOKENIZERS["ChatML"], messages)
    assert [rendered.text[s.start : s.stop] for s in rendered.spans if s.role == "thinking"] == ["<think>hm"]
    rendered = render_chat(TOKENIZERS["ChatML"], messages, thinking_tags=None)
    assert {span.role for span in rendered.spans} == {"template", "assistant"}
    other = [Message("user", "Q"), Message("assistant", "[a]x[/a]y[a]z[/a]")]
    rendered = render_chat(TOKENIZERS["ChatML"], other, thinking_tags=("[a]", "[/a]"))
    found = [(rendered.text[s.start : s.stop], s.role) for s in rendered.spans if s.role not in ("template", "user")]
    assert found == [("[a]x[/a]", "thinking"), ("y", "assistant"), ("[a]z[/a]", "thinking")]


@settings(max_examples=100, deadline=None)
@given(chats(texts=st.text("ab \n", max_size=6)))
def test_an_assistant_is_where_the_mask_of_transformers_has_it(messages: list[Message]) -> None:
    """By its tags {% generation %}, which here hold the assistant's text and one mark of the template."""
    tokenizer = TOKENIZERS["generation tags"]
    plain = [{"role": message.role, "content": message.content} for message in messages]
    masked = tokenizer.apply_chat_template(plain, return_assistant_tokens_mask=True, return_dict=True)
    rendered = render_chat(tokenizer, messages)
    assert "{% generation %}" in GENERATION
    mine = [0] * len(rendered.text)
    for span in rendered.spans:
        if span.role == "assistant":
            mine[span.start : span.stop] = [1] * (span.stop - span.start)
    empty_or_end = len("<|im_end|>")
    expected = list(mine)
    position = 0
    for message in messages:
        position += len(f"<|im_start|>{message.role}\n")
        own = message.content.lstrip("\n") if message.role == "assistant" else message.content
        if message.role == "assistant":
            expected[position + len(own) : position + len(own) + empty_or_end] = [1] * empty_or_end
        position += len(own) + empty_or_end + 1
    assert masked["assistant_masks"] == expected


# What templates do to texts, in the ways that occur; each writes the first message's content.
FOLLOWED = [
    "{{ c }}|{{ 'a' ~ c ~ 1 }}|{{ c + 'x' }}|{{ 'x' + c }}",
    "{{ c[0] }}{{ c[-2:] }}|{{ c | first }}{{ c | last }}",
    "{{ c | trim }}|{{ c.strip() }}|{{ c.lstrip('\n ') }}|{{ c.rstrip() }}",
    "{{ c.split() | join('+') }}|{{ c.split(' ', 1)[0] }}|{{ c.rsplit(None, 1) | join }}",
    "{{ c.splitlines() | join('|') }}{{ c.partition('é')[2] }}{{ c.rpartition('é')[0] }}",
    "{{ c | replace('é', 'xy') }}|{{ c.replace('ß', '', 1) }}|{{ 'y..y' | replace('..', c) }}",
    "{{ c | upper }}{{ c | lower }}{{ c.capitalize() }}",
    "{{ c | tojson }}|{{ [c, {'k': c}] | tojson(indent=2) }}|{{ {'y': c, 'x': 1} | tojson(sort_keys=true) }}",
    "{{ messages | join('|', attribute='content') }}|{{ messages | map(attribute='content') | map('upper') | join }}",
    "{{ c.join(['x', 'y', 'x']) }}|{{ ['x', 'y', 'x'] | join(c) }}",
    "{{ ', '.join([c, 'x']) }}|{{ c * 2 }}|{{ c.removeprefix('é').removesuffix('ß') }}",
    "{% set x %}<{{ c }}>{% endset %}{{ x }}{% macro m(t) %}[{{ t }}]{% endmacro %}{{ m(c) }}",
    "{% for letter in c %}{{ letter }}.{% endfor %}{{ c | reverse }}|{{ c | list | join }}",
    "{% set n = namespace(t='') %}{% for m in messages %}{% set n.t = n.t + m.content %}{% endfor %}{{ n.t }}",
    "{{ c[::2] }}|{{ c[1:-1:3] }}|{{ c.split('>') | last }}|{{ c.rsplit('>', 1)[0] }}|{{ c.rpartition('>') | join }}",
    "{{ c | string }}|{{ c | length }}|{{ c | default('x') }}|{% filter upper %}x{{ c }}{% endfilter %}",
    "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}{{ c }}{% endcall %}",
]
LOST = {
    "{{ '%s' % c }}": "by `%`",
    "{{ '%s %s' % (c, 1) }}": "by `%`",
    "{{ '{}'.format(c) }}": "by `format`",
    "{{ c.format(1) }}": "the chat template cannot be followed",
    "{{ c | escape }}": "the filter `escape`",
    "{% autoescape true %}{{ c }}{% endautoescape %}": "escapes texts for HTML",
    "{{ c | title }}": "the filter `title`",
    "{{ c | indent }}": "the filter `indent`",
    "{{ c.center(99) }}": "uses `center` on a message",
    "{{ c.title() }}": "uses `title` on a message",
    "{{ [c, messages[1].content] | string }}": "several speakers",
    "{{ strftime_now('%Y') }}": "today's date",
}  # fmt: skip


@pytest.mark.parametrize("template", FOLLOWED)
@settings(max_examples=60, deadline=None)
@given(user=st.text('abAB \nßİ"é😀', max_size=7), assistant=st.text('abAB \nßİ"é😀', max_size=7))
def test_what_a_template_does_to_a_text_is_followed(template: str, user: str, assistant: str) -> None:
    """A letter that one message alone has is its speaker's, and one that the template alone has is the template's."""

    def marked(text: str, first: int) -> str:
        return text.translate({ord(letter): first + ord(letter) for letter in "abAB"})

    messages = [Message("user", marked(user, 0xE000)), Message("assistant", marked(assistant, 0xE100))]
    source = "{% set c = messages[0].content ~ '>' ~ messages[1].content ~ '\n' %}" + template
    try:
        rendered = render_chat(tokenizer_of(source), messages, thinking_tags=None)
    except UntraceableError as error:
        assert "neighbours" in str(error)  # noqa: PT017
        return
    for span in rendered.spans:
        for character in rendered.text[span.start : span.stop]:
            if "\ue000" <= character <= "\ue1ff":
                assert span.role == ("user" if character < "\ue100" else "assistant")
            elif character in ".<>|+,[]{}":
                assert span.role == "template"


@pytest.mark.parametrize("template", LOST)
def test_what_cannot_be_followed_is_refused(template: str) -> None:
    source = "{% set c = messages[0].content %}" + template
    messages = [Message("user", "a{}b"), Message("assistant", "c")]
    with pytest.raises(ChatError, match=LOST[template]) as caught:
        render_chat(tokenizer_of(source), messages)
    assert "the chat template" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_true_and_null_alone_are_nobodys() -> None:
    template = "{% for c in messages[0].tool_calls %}{{ c.function.arguments.a }}{% endfor %}{{ 1 == 1 }}"
    for value, written in ((7, "7True"), (0.5, "0.5True"), ("x", "xTrue")):
        call = json.dumps([{"function": {"name": "f", "arguments": {"a": value}}}])
        rendered = render_chat(tokenizer_of(template), [Message("assistant", "", tool_calls=call)])
        assert rendered.text == written
        assert rendered.spans[0] == RoleSpan(0, len(written) - 4, "assistant")
    writes = ("{{ a }}", "{{ a | tojson }}", "{{ [a] | tojson }}", "{{ {'k': [a]} | string }}", "{{ 'x' ~ a }}")
    for value in (True, None):
        call = json.dumps([{"function": {"name": "f", "arguments": {"a": value}}}])
        messages = [Message("assistant", "", tool_calls=call)]
        for write in writes:
            source = "{% set f = messages[0].tool_calls[0].function %}{% set a = f.arguments.a %}" + write
            with pytest.raises(UntraceableError, match="which may be its own or stand in a message"):
                render_chat(tokenizer_of(source), messages)
        source = "{% set f = messages[0].tool_calls[0].function %}{{ f | tojson }}{{ {'k': f.arguments} | tojson }}"
        rendered = render_chat(tokenizer_of(source), messages)
        arguments = json.dumps({"a": value})
        whole = said("assistant", f'{{"name": "f", "arguments": {arguments}}}') + by_template('{"k": ')
        assert same(rendered, whole + said("assistant", arguments) + by_template("}"))


def test_variables_reach_the_template() -> None:
    template = "{{ date_string if date_string is defined else strftime_now('%d') }}{{ messages[0].content }}"
    rendered = render_chat(tokenizer_of(template), [Message("user", "x")], variables={"date_string": "26 Jul 2024"})
    assert same(rendered, by_template("26 Jul 2024") + said("user", "x"))


def test_a_date_that_a_template_writes_is_the_one_that_is_given() -> None:
    source = "{{ 'Today: ' ~ strftime_now('%d %B %Y') ~ '|' }}{{ messages[0].content }}"
    rendered = render_chat(tokenizer_of(source), [Message("user", "14 July 1789")], on_date=date(1789, 7, 14))
    assert same(rendered, by_template("Today: 14 July 1789|") + said("user", "14 July 1789"))
    plain = render_chat(TOKENIZERS["ChatML"], [Message("user", "x")], on_date=date(1789, 7, 14))
    assert plain == render_chat(TOKENIZERS["ChatML"], [Message("user", "x")])


@pytest.mark.parametrize(
    ("name", "messages", "message"),
    [
        ("Llama 2", [Message("user", "x"), Message("user", "y")], "does not take this chat: Conversation roles must alternate"),
        ("Gemma", [Message("system", "x")], "does not take this chat: System role not supported"),
        ("ChatML", [], "does not take this chat: .*empty"),
        ("ChatML", [Message("assistant", "", tool_calls="{")], "tool calls are not JSON"),
    ],
)  # fmt: skip
def test_a_chat_that_a_template_does_not_take_is_said(name: str, messages: list[Message], message: str) -> None:
    with pytest.raises(ChatError, match=message):
        render_chat(TOKENIZERS[name], messages)


def test_a_tokenizer_without_a_template_is_said() -> None:
    with pytest.raises(ChatError, match="chat_template is not set"):
        render_chat(tokenizer_of(None), [Message("user", "x")])


def test_roles_are_those_that_the_glossary_names() -> None:
    assert TEXT_ROLES == ("template", "system", "user", "assistant", "tool", "thinking")
