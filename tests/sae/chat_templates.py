"""Chat templates as models bring them, each with the same rendering written again in Python, character by character.

The Python renderings know nothing of the product's code: they are what its spans are compared with.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from sae.formats.dataset import Message

BOS, EOS = "<s>", "</s>"
Chars = list[tuple[str, str]]  # (character, role)


class Case(NamedTuple):
    """A template, its rendering in Python, and which chats it takes."""

    template: str
    rendered: Callable[[Sequence[Message], bool], Chars]
    system: bool = True


def said(role: str, text: str) -> Chars:
    return [(character, role) for character in text]


def by_template(text: str) -> Chars:
    return said("template", text)


def content(message: Message) -> Chars:
    return said(message.role, message.content)


def stripped(chars: Chars, of: str | None = None, left: bool = True, right: bool = True) -> Chars:
    def goes(one: tuple[str, str]) -> bool:
        return one[0].isspace() if of is None else one[0] in of

    chars = list(chars)
    while left and chars and goes(chars[0]):
        chars.pop(0)
    while right and chars and goes(chars[-1]):
        chars.pop()
    return chars


def flat(parts: Iterable[Chars]) -> Chars:
    return [one for part in parts for one in part]


CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
    "'\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def chatml(messages: Sequence[Message], prompt: bool) -> Chars:
    turns = [
        by_template(f"<|im_start|>{m.role}\n") + content(m) + by_template("<|im_end|>\n") for m in messages
    ]  # fmt: skip
    return flat(turns) + by_template("<|im_start|>assistant\n" if prompt else "")


LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = "
    "messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}"
    "{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ "
    "raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + "
    "'\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)


def _after_system(messages: Sequence[Message]) -> tuple[Message | None, Sequence[Message]]:
    return (messages[0], messages[1:]) if messages[0].role == "system" else (None, messages)


def llama_2(messages: Sequence[Message], prompt: bool) -> Chars:
    system, turns = _after_system(messages)
    chars: Chars = []
    for number, message in enumerate(turns):
        own = content(message)
        if number == 0 and system is not None:
            own = by_template("<<SYS>>\n") + content(system) + by_template("\n<</SYS>>\n\n") + own
        if message.role == "user":
            chars += by_template(BOS + "[INST] ") + stripped(own) + by_template(" [/INST]")
        else:
            chars += by_template(" ") + stripped(own) + by_template(" " + EOS)
    return chars


LLAMA_3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + "
    "message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
    "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)


def llama_3(messages: Sequence[Message], prompt: bool) -> Chars:
    def header(role: str) -> Chars:
        return by_template(f"<|start_header_id|>{role}<|end_header_id|>\n\n")

    turns = [header(m.role) + stripped(content(m)) + by_template("<|eot_id|>") for m in messages]
    return by_template(BOS) + flat(turns) + (header("assistant") if prompt else [])


GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception("
    "'Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if (message['role'] == "
    "'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + "
    "role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{'<start_of_turn>model\\n'}}{% endif %}"
)
GEMMA_3 = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '

' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '

' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '
' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>
' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model
'}}
{%- endif -%}
"""


def gemma(messages: Sequence[Message], prompt: bool) -> Chars:
    system, turns = _after_system(messages)
    chars = by_template(BOS)
    for number, message in enumerate(turns):
        chars += by_template(f"<start_of_turn>{'model' if message.role == 'assistant' else message.role}\n")
        if system is not None and number == 0:
            chars += content(system) + by_template("\n\n")
        chars += stripped(content(message)) + by_template("<end_of_turn>\n")
    return chars + by_template("<start_of_turn>model\n" if prompt else "")


MISTRAL = (
    "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content'] %}{%- set loop_messages = "
    "messages[1:] %}{%- else %}{%- set loop_messages = messages %}{%- endif %}{{- bos_token }}"
    "{%- for message in loop_messages %}{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{- raise_exception('After the optional system message, conversation roles must alternate user/assistant') }}"
    "{%- endif %}{%- if message['role'] == 'user' %}{%- if loop.last and system_message is defined %}"
    "{{- '[INST] ' + system_message + '\\n\\n' + message['content'] + '[/INST]' }}{%- else %}"
    "{{- '[INST] ' + message['content'] + '[/INST]' }}{%- endif %}{%- elif message['role'] == 'assistant' %}"
    "{{- ' ' + message['content']|trim + eos_token}}{%- endif %}{%- endfor %}"
)


def mistral(messages: Sequence[Message], prompt: bool) -> Chars:
    system, turns = _after_system(messages)
    chars = by_template(BOS)
    for number, message in enumerate(turns, 1):
        if message.role == "assistant":
            chars += by_template(" ") + stripped(content(message)) + by_template(EOS)
        else:
            moved = number == len(turns) and system is not None  # the system's text stands in the last turn
            before = content(system) + by_template("\n\n") if moved and system else []
            chars += by_template("[INST] ") + before + content(message) + by_template("[/INST]")
    return chars


PHI_3 = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\\n' + message['content'] + "
    "'<|end|>\\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}"
    "{% elif message['role'] == 'assistant' %}{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"
)


def phi_3(messages: Sequence[Message], prompt: bool) -> Chars:
    turns = [by_template(f"<|{m.role}|>\n") + content(m) + by_template("<|end|>\n") for m in messages]
    return flat(turns) + by_template("<|assistant|>\n" if prompt else EOS)


ZEPHYR = (
    "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token "
    "}}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n"
    "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)


def zephyr(messages: Sequence[Message], prompt: bool) -> Chars:
    turns = [by_template(f"<|{m.role}|>\n") + content(m) + by_template(EOS + "\n") for m in messages]
    return flat(turns) + by_template("<|assistant|>\n" if prompt else "")


COMMAND_R = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message "
    "= messages[0]['content'] %}{% elif false == true %}{% set loop_messages = messages %}{% set system_message = 'You "
    "are Command-R, a brilliant, sophisticated, AI-assistant trained to assist human users by providing thorough "
    "responses.' %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}"
    "{% if system_message != false %}{{ '<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>' + system_message + "
    "'<|END_OF_TURN_TOKEN|>' }}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != "
    "(loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/...') }}{% endif %}"
    "{% set content = message['content'] %}{% if message['role'] == 'user' %}{{ '<|START_OF_TURN_TOKEN|><|USER_TOKEN|>' "
    "+ content.strip() + '<|END_OF_TURN_TOKEN|>' }}{% elif message['role'] == 'assistant' %}"
    "{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>'  + content.strip() + '<|END_OF_TURN_TOKEN|>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{% endif %}"
)


def command_r(messages: Sequence[Message], prompt: bool) -> Chars:
    def turn(who: str, chars: Chars) -> Chars:
        return by_template(f"<|START_OF_TURN_TOKEN|><|{who}_TOKEN|>") + chars + by_template("<|END_OF_TURN_TOKEN|>")

    system, turns = _after_system(messages)
    chars = by_template(BOS) + (turn("SYSTEM", content(system)) if system is not None else [])
    chars += flat(turn("USER" if m.role == "user" else "CHATBOT", stripped(content(m))) for m in turns)
    return chars + by_template("<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>" if prompt else "")


DEEPSEEK_R1 = (
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = "
    "namespace(is_first=false, is_tool=false, is_output_first=true, system_prompt='') %}{%- for message in messages %}"
    "{%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}"
    "{{bos_token}}{{ns.system_prompt}}{%- for message in messages %}{%- if message['role'] == 'user' %}"
    "{%- set ns.is_tool = false -%}{{'<｜User｜>' + message['content']}}{%- endif %}{%- if message['role'] == 'assistant' "
    "and message['content'] is not none %}{%- if ns.is_tool %}{{'<｜tool▁outputs▁end｜>' + message['content'] + "
    "'<｜end▁of▁sentence｜>'}}{%- set ns.is_tool = false -%}{%- else %}{% set content = message['content'] %}"
    "{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{'<｜Assistant｜>' + "
    "content + '<｜end▁of▁sentence｜>'}}{%- endif %}{%- endif %}{%- if message['role'] == 'tool' %}"
    "{%- set ns.is_tool = true -%}{%- if ns.is_output_first %}{{'<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>' + "
    "message['content'] + '<｜tool▁output▁end｜>'}}{%- set ns.is_output_first = false %}{%- else %}"
    "{{'\\n<｜tool▁output▁begin｜>' + message['content'] + '<｜tool▁output▁end｜>'}}{%- endif %}{%- endif %}"
    "{%- endfor -%}{% if ns.is_tool %}{{'<｜tool▁outputs▁end｜>'}}{% endif %}{% if add_generation_prompt and not "
    "ns.is_tool %}{{'<｜Assistant｜><think>\\n'}}{% endif %}"
)


def deepseek_r1(messages: Sequence[Message], prompt: bool) -> Chars:
    system, turns = _after_system(messages)
    chars = by_template(BOS) + (content(system) if system is not None else [])
    for message in turns:
        if message.role == "user":
            chars += by_template("<｜User｜>") + content(message)
        else:
            answer = said("assistant", message.content.rsplit("</think>", 1)[-1])  # thinking is left out
            chars += by_template("<｜Assistant｜>") + answer + by_template("<｜end▁of▁sentence｜>")
    return chars + by_template("<｜Assistant｜><think>\n" if prompt else "")


# SmolLM3's way of marking what the assistant wrote, by which transformers makes its own mask.
GENERATION = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' }}{%- if message.role == 'assistant' %}"
    "{% generation %}{{- message.content.lstrip('\\n') + '<|im_end|>' }}{% endgeneration %}{{- '\\n' }}{%- else %}"
    "{{- message.content ~ '<|im_end|>' ~ '\\n' }}{%- endif %}{%- endfor %}{%- if add_generation_prompt %}"
    "{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def generation(messages: Sequence[Message], prompt: bool) -> Chars:
    def own(message: Message) -> Chars:
        return content(message) if message.role != "assistant" else stripped(content(message), "\n", right=False)

    turns = [by_template(f"<|im_start|>{m.role}\n") + own(m) + by_template("<|im_end|>\n") for m in messages]
    return flat(turns) + by_template("<|im_start|>assistant\n" if prompt else "")


CASES = {
    "ChatML": Case(CHATML, chatml),
    "Llama 2": Case(LLAMA_2, llama_2),
    "Llama 3": Case(LLAMA_3, llama_3),
    "Gemma": Case(GEMMA, gemma, system=False),
    "Gemma 3": Case(GEMMA_3, gemma),
    "Mistral": Case(MISTRAL, mistral),
    "Phi 3": Case(PHI_3, phi_3),
    "Zephyr": Case(ZEPHYR, zephyr),
    "Command R": Case(COMMAND_R, command_r),
    "DeepSeek R1": Case(DEEPSEEK_R1, deepseek_r1),
    "generation tags": Case(GENERATION, generation),
}

QWEN_3 = r"""{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\n\n' }}
    {%- endif %}
    {{- "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n<tools>" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools><|im_end|>\n" }}
{%- else %}
    {%- if messages[0].role == 'system' %}
        {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and
        not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\n<think>\n' + reasoning_content.strip('\n') +
                     '\n</think>\n\n' + content.lstrip('\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}
                    {{- '\n' }}
                {%- endif %}
                {%- if tool_call.function %}
                    {%- set tool_call = tool_call.function %}
                {%- endif %}
                {{- '<tool_call>\n{"name": "' }}
                {{- tool_call.name }}
                {{- '", "arguments": ' }}
                {%- if tool_call.arguments is string %}
                    {{- tool_call.arguments }}
                {%- else %}
                    {{- tool_call.arguments | tojson }}
                {%- endif %}
                {{- '}\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\n<tool_response>\n' }}
        {{- content }}
        {{- '\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}
"""


def qwen_3(messages: Sequence[Message], prompt: bool, tools: Sequence[dict[str, Any]] = ()) -> Chars:
    """Without messages that look like a tool's answer or hold tags of thinking in their content."""
    system, turns = _after_system(messages)
    chars: Chars = []
    if tools:
        chars += by_template("<|im_start|>system\n")
        chars += content(system) + by_template("\n\n") if system is not None else []
        chars += by_template(
            "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n<tools>"
        ) + flat(by_template("\n") + said("tool", json.dumps(tool, ensure_ascii=False)) for tool in tools)
        chars += by_template("\n</tools><|im_end|>\n")
    elif system is not None:
        chars += by_template("<|im_start|>system\n") + content(system) + by_template("<|im_end|>\n")
    queries = [i for i, message in enumerate(turns) if message.role == "user"]
    last_query = queries[-1] if queries else len(turns) - 1
    for i, message in enumerate(turns):
        is_last = i == len(turns) - 1
        if message.role == "user":
            chars += by_template("<|im_start|>user\n") + content(message) + by_template("<|im_end|>\n")
        elif message.role == "tool":
            if i == 0 or turns[i - 1].role != "tool":
                chars += by_template("<|im_start|>user")
            chars += by_template("\n<tool_response>\n") + content(message) + by_template("\n</tool_response>")
            if is_last or turns[i + 1].role != "tool":
                chars += by_template("<|im_end|>\n")
        else:
            chars += by_template("<|im_start|>assistant\n")
            thinking = message.thinking or ""
            if i > last_query and (is_last or thinking):
                chars += by_template("<think>\n") + stripped(said("thinking", thinking), "\n")
                chars += by_template("\n</think>\n\n") + stripped(content(message), "\n", right=False)
            else:
                chars += content(message)
            for number, call in enumerate(json.loads(message.tool_calls or "[]")):
                chars += by_template("\n" if number or message.content else "") + by_template('<tool_call>\n{"name": "')
                arguments = call["function"]["arguments"]
                written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
                chars += said("assistant", call["function"]["name"]) + by_template('", "arguments": ')
                chars += said("assistant", written) + by_template("}\n</tool_call>")
            chars += by_template("<|im_end|>\n")
    return chars + by_template("<|im_start|>assistant\n" if prompt else "")


MISTRAL_TOOLS = r"""{%- set user_messages = messages | selectattr("role", "equalto", "user") | list %}
{{- bos_token }}
{%- for message in messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val|tojson }}
                    {%- endif %}
                    {%- if not loop.last %}
                        {{- ", " }}
                    {%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- else %}
                    {{- "]" }}
                {%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {{- "[INST] " + message["content"] + "[/INST]" }}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[TOOL_CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function|tojson %}
            {{- out[:-1] }}
            {%- if not tool_call.id is defined or tool_call.id|length != 9 %}
                {{- raise_exception("Tool call IDs should be alphanumeric strings with length 9!") }}
            {%- endif %}
            {{- ', "id": "' + tool_call.id + '"}' }}
            {%- if not loop.last %}
                {{- ", " }}
            {%- else %}
                {{- "]" + eos_token }}
            {%- endif %}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- elif message["role"] == "tool_results" or message["role"] == "tool" %}
        {%- if message.content is defined and message.content.content is defined %}
            {%- set content = message.content.content %}
        {%- else %}
            {%- set content = message.content %}
        {%- endif %}
        {{- '[TOOL_RESULTS] {"content": ' + content|string + ", " }}
        {{- '"call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- endif %}
{%- endfor %}
"""


def mistral_tools(messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> Chars:
    """With tools that have no key `return`, whose texts need no escapes."""
    last = [message for message in messages if message.role == "user"][-1]
    chars = by_template(BOS)
    for message in messages:
        if message.role == "user":
            if message == last:
                chars += by_template("[AVAILABLE_TOOLS] [")
                for number, tool in enumerate(tools):
                    chars += by_template(", " if number else "") + by_template('{"type": "function", "function": {')
                    for place, (key, value) in enumerate(tool["function"].items()):
                        chars += by_template(', "' if place else '"') + said("tool", key) + by_template('": ')
                        if isinstance(value, str):
                            chars += by_template('"') + said("tool", value) + by_template('"')
                        else:
                            chars += said("tool", json.dumps(value, ensure_ascii=False))
                    chars += by_template("}}")
                chars += by_template("][/AVAILABLE_TOOLS]")
            chars += by_template("[INST] ") + content(message) + by_template("[/INST]")
        elif message.tool_calls is not None:
            chars += by_template("[TOOL_CALLS] [")
            for number, call in enumerate(json.loads(message.tool_calls)):
                chars += by_template(", " if number else "")
                chars += said("assistant", json.dumps(call["function"], ensure_ascii=False)[:-1])
                chars += by_template(', "id": "') + said("assistant", call["id"]) + by_template('"}')
            chars += by_template("]" + EOS)
        elif message.role == "assistant":
            chars += by_template(" ") + stripped(content(message)) + by_template(EOS)
        else:
            chars += by_template('[TOOL_RESULTS] {"content": ') + content(message) + by_template(', "call_id": "')
            chars += said("tool", message.tool_call_id or "") + by_template('"}[/TOOL_RESULTS]')
    return chars
