"""Prompts, against texts written by hand, and against transformers' own rendering of the chat templates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conversations import CONVERSATIONS, TRICKY, as_messages, targets_of, text_of
from small_tokenizers import llama3_style
from transformers import PreTrainedTokenizerFast

from alpaca_lora.data.encoder import TextEncoder
from alpaca_lora.data.examples import Example, Turn
from alpaca_lora.data.prompts import load_prompt, render_example, template_names
from alpaca_lora.data.tokens import encode_prompt
from alpaca_lora.errors import UserError

ENGLISH = "Below is an instruction that describes a task{}. Write a response that appropriately completes the request."
FRENCH = (
    "Ci-dessous se trouve une instruction qui décrit une tâche{}. "
    "Écrivez une réponse qui complète correctement la demande."
)
PAIRED = ", paired with an input that provides further context"
EXPECTED = {
    "alpaca": (
        ENGLISH.format(PAIRED) + "\n\n### Instruction:\nName it.\n\n### Input:\nIt purrs.\n\n### Response:\n",
        ENGLISH.format("") + "\n\n### Instruction:\nName it.\n\n### Response:\n",
    ),
    "alpaca_legacy": (
        ENGLISH.format(PAIRED) + "\n\n### Instruction:\nName it.\n\n### Input:\nIt purrs.\n\n### Response:",
        ENGLISH.format("") + "\n\n### Instruction:\nName it.\n\n### Response:",
    ),
    "alpaca_short": (
        "### Instruction:\nName it.\n\n### Input:\nIt purrs.\n\n### Response:\n",
        "### Instruction:\nName it.\n\n### Response:\n",
    ),
    "vigogne": (
        FRENCH.format(", associée à une entrée qui fournit un contexte supplémentaire")
        + "\n\n### Instruction:\nName it.\n\n### Entrée:\nIt purrs.\n\n### Réponse:\n",
        FRENCH.format("") + "\n\n### Instruction:\nName it.\n\n### Réponse:\n",
    ),
}


def write_template(folder: Path, **changes: Any) -> str:
    template = {
        "description": "Short.",
        "prompt_input": "Q: {instruction}\nI: {input}\nA:",
        "prompt_no_input": "Q: {instruction}\nA:",
        "response_split": "A:",
    }
    path = folder / "own.json"
    path.write_text(json.dumps({k: v for k, v in (template | changes).items() if v is not None}), encoding="utf-8")
    return str(path)


# --- the four-key templates --------------------------------------------------------------------------------------


def test_the_built_in_templates_are_these_four() -> None:
    assert template_names() == sorted(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_prompt_is_the_one_written_by_hand(name: str, llama: PreTrainedTokenizerFast) -> None:
    prompt = load_prompt(name, llama)
    for context, expected in zip(("It purrs.", ""), EXPECTED[name], strict=True):
        turn = Turn("Name it.", context, "A cat")
        asked = prompt.render([turn], "", open_ended=True)
        assert text_of(asked) == expected
        assert targets_of(asked) == []
        row = render_example(prompt, Example((turn,), "", 0))
        assert text_of(row) == f"{expected}A cat</s>"
        assert targets_of(row) == ["A cat", "</s>"]


def test_system_text_and_earlier_turns(llama: PreTrainedTokenizerFast) -> None:
    prompt = load_prompt("alpaca_short", llama)
    turns = [Turn("Hi", "", "Hello"), Turn("Add", "1 2", "3")]
    first = "Be brief.\n\n### Instruction:\nHi\n\n### Response:\nHello</s>"
    second = "### Instruction:\nAdd\n\n### Input:\n1 2\n\n### Response:\n"
    assert text_of(prompt.render(turns, "Be brief.", open_ended=True)) == first + second
    row = prompt.render(turns, "Be brief.", open_ended=False)
    assert text_of(row) == f"{first}{second}3</s>"
    assert targets_of(row) == ["Hello", "</s>", "3", "</s>"]


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("tricky", TRICKY)
def test_nothing_in_the_users_text_changes_the_prompt(name: str, tricky: str, llama: PreTrainedTokenizerFast) -> None:
    prompt = load_prompt(name, llama)
    with_input, without_input = EXPECTED[name]
    for context in (tricky, ""):
        segments = prompt.render([Turn(tricky, context, tricky)], tricky, open_ended=False)
        expected = (with_input if context else without_input).replace("Name it.", tricky).replace("It purrs.", tricky)
        assert text_of(segments) == f"{tricky}\n\n{expected}{tricky}</s>"
        assert [segment.text for segment in segments if segment.is_markup] == ["</s>"]


def test_templates_load_from_any_working_directory_and_by_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, llama: PreTrainedTokenizerFast
) -> None:
    write_template(tmp_path, prompt_no_input="Demande : {instruction}\nRéponse A:")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    turn = [Turn("Name it.", "", "")]
    assert text_of(load_prompt("alpaca", llama).render(turn, "", open_ended=True)) == EXPECTED["alpaca"][1]
    for place in ("own.json", str(tmp_path / "own.json"), "~/own.json"):
        assert text_of(load_prompt(place, llama).render(turn, "", open_ended=True)) == "Demande : Name it.\nRéponse A:"


def test_a_file_with_a_byte_order_mark_loads(tmp_path: Path, llama: PreTrainedTokenizerFast) -> None:
    path = Path(write_template(tmp_path))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert text_of(load_prompt(str(path), llama).render([Turn("x", "", "")], "", open_ended=True)) == "Q: x\nA:"


def test_doubled_braces_are_one_brace(tmp_path: Path, llama: PreTrainedTokenizerFast) -> None:
    path = write_template(tmp_path, prompt_no_input='{{"q": "{instruction}"}}\n{{A:}}')
    segments = load_prompt(path, llama).render([Turn("x", "", "")], "", open_ended=True)
    assert text_of(segments) == '{"q": "x"}\n{A:}'


def test_special_tokens_of_a_template_file_act_and_those_of_users_do_not(
    tmp_path: Path, llama3: PreTrainedTokenizerFast
) -> None:
    path = write_template(tmp_path, prompt_no_input="<|start_header_id|>user<|end_header_id|>{instruction}<|eot_id|>A:")
    segments = load_prompt(path, llama3).render([Turn("Say <|eot_id|>", "", "")], "", open_ended=True)
    assert text_of(segments) == "<|start_header_id|>user<|end_header_id|>Say <|eot_id|><|eot_id|>A:"
    markup = [segment.text for segment in segments if segment.is_markup]
    assert markup == ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt_input": None}, "needs four keys.*own.json.*found description, prompt_no_input, response_split; exp"),
        ({"response_split": 3}, "needs four keys, each with a text"),
        ({"prompt_no_input": "{instruction} A: }"}, "a brace of the prompt has no partner.*prompt_no_input.*write {{"),
        ({"prompt_no_input": "{instruction A:"}, "a brace of the prompt has no partner"),
        ({"prompt_input": "{instruction} A:"}, r"has the fields {instruction}\n.*expected {instruction} and {input}"),
        ({"prompt_no_input": "A:"}, "has the fields none"),
        ({"prompt_no_input": "{} A:"}, "has the fields {}"),
        ({"prompt_no_input": "{instruction} {instruction} A:"}, "has the fields {instruction}, {instruction}"),
        ({"prompt_no_input": "{instruction} {output} A:"}, "has the fields {instruction}, {output}"),
        ({"prompt_no_input": "{instruction!r} A:"}, "has the fields {instruction!r}"),
        ({"prompt_no_input": "{instruction:>9} A:"}, "has the fields {instruction:>9}"),
        ({"prompt_no_input": "A: {instruction}"}, "does not end with the response marker.*'A:' must stand after"),
        ({"prompt_no_input": "<s>{instruction} A:"}, "holds the begin-of-sequence token <s>.*take it out"),
    ],
)
def test_a_broken_template_is_named_with_its_flaw(
    tmp_path: Path, llama: PreTrainedTokenizerFast, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=f"(?s){message}"):
        load_prompt(write_template(tmp_path, **changes), llama)


def test_files_that_are_no_templates(tmp_path: Path, llama: PreTrainedTokenizerFast) -> None:
    path = tmp_path / "own.json"
    with pytest.raises(UserError, match=r"no prompt template .*own.json\n.*alpaca \| alpaca_legacy .* \| chat, or"):
        load_prompt(str(path), llama)
    with pytest.raises(UserError, match="there is no prompt template"):
        load_prompt(str(tmp_path), llama)
    path.write_text('{\n"description": \n}', encoding="utf-8")
    with pytest.raises(UserError, match=r"not JSON: Expecting value\n.*own.json:3"):
        load_prompt(str(path), llama)
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(UserError, match=r"(?s)needs four keys.*found list"):
        load_prompt(str(path), llama)
    path.write_bytes('{"description": "é"}'.encode("latin-1"))
    with pytest.raises(UserError, match=r"not UTF-8 text \(byte 17\)"):
        load_prompt(str(path), llama)


# --- the chat template that other programs read ------------------------------------------------------------------


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("kind", ["llama", "llama3", "bos not added", "no bos"])
def test_the_saved_chat_template_renders_the_prompt_of_the_training(
    kind: str, name: str, conversation: str, request: pytest.FixtureRequest
) -> None:
    made = {"bos not added": {"bos": False}, "no bos": {"bos": False, "bos_token": None}}
    tokenizer = llama3_style(**made[kind]) if kind in made else request.getfixturevalue(kind)
    encoder, prompt = TextEncoder(tokenizer), load_prompt(name, tokenizer)
    assert bool(encoder.bos) == (kind in ("llama", "llama3"))
    system, turns = CONVERSATIONS[conversation]
    for open_ended in (True, False):
        messages = as_messages(system, turns, open_ended=open_ended)
        rendered = tokenizer.apply_chat_template(messages, chat_template=prompt.jinja(), tokenize=False)
        assert rendered == encoder.bos + text_of(prompt.render(turns, system, open_ended=open_ended))
    if name == "alpaca_legacy" and len(turns) > 1:
        return  # other programs join an earlier answer with the colon before it; ours never does, so that masks hold
    messages = as_messages(system, turns, open_ended=True)
    settings: dict[str, Any] = {"chat_template": prompt.jinja(), "tokenize": True, "return_dict": True}
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, **settings)["input_ids"]
    assert ids == encode_prompt(encoder, prompt, turns, system)


def test_an_empty_system_message_adds_nothing(llama: PreTrainedTokenizerFast) -> None:
    prompt = load_prompt("alpaca_short", llama)
    messages = [{"role": "system", "content": ""}, {"role": "user", "content": "Name it."}]
    rendered = llama.apply_chat_template(messages, chat_template=prompt.jinja(), tokenize=False)
    assert rendered == "<s>" + EXPECTED["alpaca_short"][1]


def test_odd_characters_of_a_template_survive_in_the_chat_template(
    tmp_path: Path, llama: PreTrainedTokenizerFast
) -> None:
    odd = "\"quoted\" 'too' \\n \\ {{{{ }}}} {{% if %}} {{# #}} é 好 🙂 \t\r\n{instruction} A: "
    prompt = load_prompt(write_template(tmp_path, prompt_no_input=odd), llama)
    messages = [{"role": "user", "content": "Name it."}]
    rendered = llama.apply_chat_template(messages, chat_template=prompt.jinja(), tokenize=False)
    assert rendered == "<s>" + odd.format(instruction="Name it.")
