"""Tokenizers' own chat templates as prompts, against transformers' rendering of the same templates."""

from __future__ import annotations

from typing import Any

import pytest
from conversations import TRICKY, as_messages, targets_of, text_of
from small_tokenizers import llama3_style
from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast

from alpaca_lora.data.encoder import TextEncoder
from alpaca_lora.data.examples import Turn
from alpaca_lora.data.prompts import load_prompt
from alpaca_lora.data.tokens import encode_prompt
from alpaca_lora.errors import UserError

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}"
    "{% set system = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' %}"
    "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{% set content = (system if loop.first else '') + message['content'] %}"
    "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
LLAMA_3 = (
    "{% for message in messages %}{% set text = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + "
    "message['content'] | trim + '<|eot_id|>' %}{{ bos_token + text if loop.first else text }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
ZEPHYR = (  # its generation prompt lacks the line break that stands before the answers
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] }}"
    "{{ eos_token + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
THINKING = CHATML.replace(  # as Qwen3: an empty thought stands before the last answer, which the model has to write
    "+ '\\n' + message['content']",
    "+ ('\\n<think>\\n\\n</think>\\n\\n' if loop.last and message['role'] == 'assistant' else '\\n') "
    "+ message['content']",
)
PLAIN = (  # no token ends an answer, and nothing asks for one
    "{% for message in messages %}{{ message['role'].upper() + ': ' + message['content'] }}"
    "{{ '' if loop.last and message['role'] == 'assistant' else '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def chat_style(kind: str, template: str, request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    if kind == "llama3":
        return llama3_style(chat_template=template, eos_token="<|eot_id|>")
    shared = request.getfixturevalue("llama")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=shared.backend_tokenizer, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = template
    return tokenizer


CHATS = {
    "chatml": ("llama3", CHATML, ["Hello there.<|im_end|>", "It is 3.<|im_end|>"]),
    "llama 2": ("llama", LLAMA_2, [" Hello there. </s>", " It is 3. </s>"]),
    "llama 3": ("llama3", LLAMA_3, ["Hello there.<|eot_id|>", "It is 3.<|eot_id|>"]),
    "zephyr": ("llama", ZEPHYR, ["\nHello there.</s>", "\nIt is 3.</s>"]),
    "thinking": ("llama3", THINKING, ["Hello there.<|im_end|>", "<think>\n\n</think>\n\nIt is 3.<|im_end|>"]),
    "plain": ("llama", PLAIN, [" Hello there.", " It is 3.</s>"]),
}


@pytest.mark.parametrize("system", ["", "Be brief."])
@pytest.mark.parametrize("name", CHATS)
def test_chat_templates_render_as_transformers_does_and_train_what_the_model_writes(
    name: str, system: str, request: pytest.FixtureRequest
) -> None:
    kind, template, expected_targets = CHATS[name]
    tokenizer = chat_style(kind, template, request)
    encoder, prompt = TextEncoder(tokenizer), load_prompt("chat", tokenizer)
    tokenizer.chat_template = None  # the prompt keeps the template it was made with
    turns = [Turn("Hi", "", "Hello there."), Turn("Add", "1 2", "It is 3.")]
    messages = as_messages(
        system, [Turn("Hi", "", "Hello there."), Turn("Add\n\n1 2", "", "It is 3.")], open_ended=False
    )
    settings: dict[str, Any] = {"chat_template": template, "tokenize": False}

    asked = text_of(prompt.render(turns, system, open_ended=True))
    assert asked == tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, **settings)
    row = prompt.render(turns, system, open_ended=False)
    own_end = "</s>" if name == "plain" else ""
    assert text_of(row) == tokenizer.apply_chat_template(messages, **settings) + own_end
    assert text_of(row).startswith(asked)

    stretches = [""]
    for segment in row:
        if segment.is_target:
            stretches[-1] += segment.text
        elif stretches[-1]:
            stretches.append("")
    assert [stretch for stretch in stretches if stretch] == expected_targets

    settings |= {"chat_template": prompt.jinja(), "tokenize": True, "return_dict": True}
    ids = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, **settings)["input_ids"]
    assert ids == encode_prompt(encoder, prompt, turns, system)
    assert ids[:2].count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize("name", ["chatml", "llama 2", "llama 3", "zephyr"])
@pytest.mark.parametrize("tricky", TRICKY)
def test_nothing_in_the_users_text_acts_in_a_chat_template(
    name: str, tricky: str, request: pytest.FixtureRequest
) -> None:
    kind, template, _ = CHATS[name]
    prompt = load_prompt("chat", chat_style(kind, template, request))
    rows = [
        prompt.render([Turn(text, "", text), Turn(text, text, text)], text, open_ended=False) for text in ("@@", tricky)
    ]
    assert text_of(rows[1]) == text_of(rows[0]).replace("@@", tricky)
    shapes = [[(part.is_target, part.is_markup, part.text if part.is_markup else "") for part in row] for row in rows]
    assert shapes[0] == shapes[1]


def test_contents_may_be_stripped_each_in_its_own_way(request: pytest.FixtureRequest) -> None:
    prompt = load_prompt("chat", chat_style("llama", LLAMA_2, request))
    segments = prompt.render([Turn(" q \n", "", "\n a \n"), Turn(" r ", "", "")], " s\n", open_ended=False)
    assert text_of(segments) == ("<s>[INST] <<SYS>>\n s\n\n<</SYS>>\n\n q [/INST] a </s><s>[INST] r [/INST]  </s>")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (CHATML.replace("message['content']", "message['content'] | upper"), "rewrites what users write.*text 'Hi'"),
        (CHATML.replace("message['content']", "message['content'][:9] "), "rewrites what users write"),
        (CHATML.replace("message['content']", "'' "), "rewrites what users write"),
        (CHATML.replace("assistant\\n", "assistant\\n<think>\\n"), "asks for an answer with another prompt than it sh"),
        ("{{ raise_exception('no such role') }}", "refuses a conversation: no such role.*roles user, assistant"),
        ("{% for x in %}", "refuses a conversation"),
        (None, "has no chat template.*--prompt_template_name alpaca"),
    ],
)
def test_a_chat_template_that_cannot_be_followed_is_refused(template: str | None, message: str) -> None:
    with pytest.raises(UserError, match=f"(?s){message}"):
        load_prompt("chat", llama3_style(chat_template=template)).render(
            [Turn("Hi", "", "It is a long answer.")], "", open_ended=False
        )


def test_special_tokens_that_swallow_spaces_do_so_in_a_chat_template(llama: PreTrainedTokenizerFast) -> None:
    backend = Tokenizer.from_str(llama.backend_tokenizer.to_str())
    backend.add_special_tokens([AddedToken(f"<|{name}|>", rstrip=True) for name in ("user", "assistant", "end")])
    template = (  # as Phi-3
        "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] }}"
        "{{ '<|end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = template
    prompt, turns = load_prompt("chat", tokenizer), [Turn("Hi", "", "Hello."), Turn("Bye", "", "Bye.")]
    messages = as_messages("", turns, open_ended=True)
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert encode_prompt(TextEncoder(tokenizer), prompt, turns) == ids
    assert targets_of(prompt.render(turns, "", open_ended=False)) == ["Hello.", "<|end|>", "Bye.", "<|end|>"]


def test_of_several_chat_templates_the_default_is_taken() -> None:
    tokenizer = llama3_style()
    tokenizer.chat_template = {"default": CHATML, "tool_use": LLAMA_3}  # pyright: ignore[reportAttributeAccessIssue]
    assert load_prompt("chat", tokenizer).fingerprint == CHATML
