"""What can be done with a conversation: compare, retry, look at the prompt, save; typed as commands."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from chat_sessions import ANSWER, CONTEXT, SHORT, chat_config, prompt_ids, write_chat_models
from safetensors.torch import load_file, save_file

from alpaca_lora.data.examples import Turn, read_examples
from alpaca_lora.errors import UserError
from alpaca_lora.inference.answerer import Answerer
from alpaca_lora.inference.chat import chat
from alpaca_lora.inference.generate import stream_text
from alpaca_lora.inference.settings import ChatConfig, SamplingConfig
from alpaca_lora.inference.talk import Talk, open_talk
from alpaca_lora.model.tokenizer import load_tokenizer

Reply = Callable[..., list[str]]
DRAWN = SamplingConfig(max_new_tokens=12, temperature=3.0)


def _silent(piece: str) -> None:
    """Show nothing."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders: `speaker` answers ANSWER to anything; `random` with the adapters `one` and `two`; `runs` holds both."""
    root = write_chat_models(tmp_path_factory.mktemp("models"))
    for name in ("one", "two"):
        shutil.copytree(root / name, root / "runs" / name)
    return root


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Reply:
    """Type lines into a chat and leave; gives what was printed after each."""

    def run(config: ChatConfig, *lines: str) -> list[str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        chat(config)
        return capsys.readouterr().out.split("\n> ")[1:]

    return run


def _alone(opened: Talk, name: str, sampling: SamplingConfig, *turns: Turn, system: str = "") -> str:
    """Answer without a conversation's memory: the whole prompt at once."""
    models = opened.models
    models.select(name)
    request = models.request(name, turns, sampling, system=system)
    return "".join(stream_text(models.model, models.tokenizer, request.ids, sampling, end=request.end))


def _under_names(shown: str) -> dict[str, str]:
    """Take a comparison apart into the answers by their names."""
    return {part.split("\n", 1)[0]: part.split("\n", 1)[1].rstrip("\n") for part in shown.split("--- ")[1:]}


# --- what was computed before ------------------------------------------------------------------------------------


def test_the_beginning_of_a_prompt_is_computed_once(models: Path) -> None:
    opened = open_talk(chat_config(models / "random", models / "one"))
    read: list[int] = []
    opened.models.model.register_forward_pre_hook(
        lambda _, given, named: read.append(named["input_ids"].shape[1]), with_kwargs=True
    )
    calls = (partial(opened.answer, "what is two"), partial(opened.answer, "and three"), opened.retry)
    for turn, call in enumerate(calls):
        read.clear()
        call(SHORT, _silent)
        assert opened.asked is not None
        heads = [0, *opened.asked.heads]
        assert len(heads) == 2 + min(turn, 1)
        of_prompt = sum(tokens for tokens in read if tokens > 1)  # the answer is read one by one
        assert of_prompt == len(opened.asked.ids) - heads[turn]


@pytest.mark.parametrize("sampling", [SHORT, DRAWN, replace(SHORT, num_beams=2, max_new_tokens=5)])
def test_a_conversation_is_answered_as_if_all_of_it_were_new(models: Path, sampling: SamplingConfig) -> None:
    opened = open_talk(chat_config(models / "random", models / "one", models / "two"))
    for question, name in (("what is two", "two"), ("and three", "two"), ("now", "one"), ("please", "base")):
        opened.switch(name)
        before = list(opened.turns)
        answer = opened.answer(question, sampling, _silent)
        assert answer == _alone(opened, name, sampling, *before, Turn(question, "", ""))
    assert len({turn.output for turn in opened.turns}) == 4


def test_a_compiled_step_answers_alike(models: Path) -> None:
    opened = open_talk(chat_config(models / "random"))
    plain = [opened.answer(question, SHORT, _silent) for question in ("what is two", "and three")]
    compiled: Any = _Compiled(opened.models.model)
    again = Talk(opened.models, Answerer(opened.models, compiled), "base")
    assert [again.answer(question, SHORT, _silent) for question in ("what is two", "and three")] == plain
    assert compiled.read == [1] * 22  # all but each answer's first token
    assert compiled.lent == [True, False] * 2
    again.answer("now", replace(SHORT, num_beams=2), _silent)
    compiled.has_room = False
    again.answer("now", SHORT, _silent)
    assert (len(compiled.read), compiled.lent) == (22, [True, False] * 2)


class _Compiled:
    """Stands for a `CompiledStep`; says what it was asked for."""

    def __init__(self, model: Any) -> None:
        self.model, self.has_room = model, True
        self.read: list[int] = []
        self.lent: list[bool] = []

    def borrow(self, model: Any, begun: Any, tokens: int) -> Any:
        if self.has_room:
            self.lent.append(True)
        return begun if self.has_room else None

    def give_back(self, cache: Any) -> None:
        self.lent.append(False)

    def step(self, **given: Any) -> Any:
        self.read.append(given["input_ids"].shape[1])
        return self.model(**given)


# --- compare -----------------------------------------------------------------------------------------------------


def test_the_last_question_is_answered_by_the_base_and_all_adapters(models: Path, talk: Reply) -> None:
    config = chat_config(models / "random", adapter_dir=models / "runs", sampling=DRAWN)
    lines = ["/system you sat on a mat", "what is two", "/adapter two", "and three"]
    shown = talk(config, *lines, "/compare", "/adapter", "now", "/prompt")
    opened = open_talk(config)
    first = Turn("what is two", "", shown[1].removesuffix("\n"))
    expected = {
        name: _alone(opened, name, DRAWN, first, Turn("and three", "", ""), system="you sat on a mat")
        for name in ("base", "one", "two")
    }
    found = _under_names(shown[4])
    assert {name: text.replace("{+", "").replace("+}", "") for name, text in found.items()} == expected
    assert shown[3].removesuffix("\n") == expected["two"]
    assert found["base"] == expected["base"]
    assert all("{+" in found[name] for name in ("one", "two"))
    assert shown[5] == "  base\n  one\n* two\n"
    assert shown[7].count("### Instruction") == 3  # the comparison is no turn of the conversation
    assert expected["two"] in shown[7]


def test_named_adapters_are_compared_with_the_base(models: Path, talk: Reply) -> None:
    config = chat_config(models / "random", models / "one", models / "two")
    shown = talk(config, "now", "/compare two", "/compare two one two base", "/compare two three")
    assert list(_under_names(shown[1])) == ["base", "two"]
    assert list(_under_names(shown[2])) == ["base", "two", "one"]
    assert "there is no adapter three" in shown[3]
    assert "---" not in shown[3]


def test_the_same_answer_is_not_shown_twice(models: Path, talk: Reply, tmp_path: Path) -> None:
    idle = _zeroed(models / "one", tmp_path / "nothing")
    compared = _under_names(talk(chat_config(models / "random", idle), "now", "/compare")[1])
    assert compared["nothing"] == "(the same answer)"


def _zeroed(adapter: Path, folder: Path) -> Path:
    """Copy an adapter so that it changes nothing."""
    shutil.copytree(adapter, folder)
    file = folder / "adapter_model.safetensors"
    save_file({name: tensor * 0 for name, tensor in load_file(file).items()}, file)
    return folder


def test_an_adapter_that_cannot_be_loaded_does_not_end_the_comparison(
    models: Path, talk: Reply, tmp_path: Path
) -> None:
    runs = Path(shutil.copytree(models / "runs", tmp_path / "runs"))
    (runs / "one" / "adapter_model.safetensors").write_bytes(b"broken")
    shown = talk(chat_config(models / "random", adapter_dir=runs), "now", "/compare", "/adapter one", "/adapter")
    found = _under_names(shown[1])
    assert list(found) == ["base", "one", "two"]
    assert "the adapter's weights cannot be read" in found["one"]
    assert "{+" in found["two"]
    assert "the adapter's weights cannot be read" in shown[2]
    assert shown[3].startswith("* base\n")


def test_there_must_be_a_question_and_something_to_compare(models: Path, talk: Reply) -> None:
    shown = talk(chat_config(models / "speaker"), "/compare", "now", "/compare")
    assert shown[0].startswith("there is no question yet")
    assert shown[2].startswith("there is only base to compare")


def test_a_merged_adapter_is_not_compared_with_itself(models: Path, talk: Reply) -> None:
    shown = talk(chat_config(models / "random", models / "one", merge_adapter=True), "now", "/adapter", "/compare",
                 "/compare base", "/adapter base")  # fmt: skip
    assert shown[1] == "* one\n"
    assert shown[2].startswith("there is only one to compare")
    assert all("there is no adapter base" in text for text in shown[3:5])


# --- retry and prompt --------------------------------------------------------------------------------------------


def test_a_question_is_answered_again_with_other_draws(models: Path) -> None:
    opened = open_talk(chat_config(models / "random"))
    asked, last = Turn("what is two", "", opened.answer("what is two", DRAWN, _silent)), Turn("now", "", "")
    answers = [opened.answer("now", DRAWN, _silent), *(opened.retry(DRAWN, _silent) for _ in range(2))]
    seeds = [replace(DRAWN, seed=DRAWN.seed + number) for number in range(3)]
    assert answers == [_alone(opened, "base", seed, asked, last) for seed in seeds]
    assert len(set(answers)) == 3
    assert opened.turns == [asked, replace(last, output=answers[-1])]
    before = list(opened.turns)
    answers = [opened.answer("now", DRAWN, _silent), opened.retry(DRAWN, _silent)]
    assert answers == [_alone(opened, "base", seed, *before, last) for seed in seeds[:2]]  # counted for each question


def test_another_adapter_answers_again(models: Path, talk: Reply) -> None:
    config = chat_config(models / "random", models / "one")
    shown = talk(config, "now", "/adapter base", "/retry", "/reset", "/retry")
    opened = open_talk(config)
    assert shown[2] == _alone(opened, "base", SHORT, Turn("now", "", "")) + "\n" != shown[0]
    assert shown[4].startswith("there is no question yet")


def test_a_retry_that_fails_or_is_stopped_keeps_what_there_is(models: Path) -> None:
    opened = open_talk(chat_config(models / "speaker"))
    opened.answer("now", SHORT, _silent)
    turns = list(opened.turns)
    opened.system = "x" * CONTEXT
    with pytest.raises(UserError, match="reads at most"):
        opened.retry(SHORT, _silent)
    assert opened.turns == turns
    opened.system = ""

    def stop(piece: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opened.retry(SHORT, stop)
    assert opened.turns == [Turn("now", "", "the")]


def test_the_prompt_is_shown_as_it_was_given(models: Path, talk: Reply) -> None:
    shown = talk(chat_config(models / "random", models / "one"), "/prompt", "what is </s> two", "/adapter base",
                 "/system mat", "/prompt")  # fmt: skip
    assert shown[0].startswith("nothing was asked yet")
    tokenizer, _ = load_tokenizer(models / "random")
    given = tokenizer.decode(prompt_ids(models / "random", Turn("what is </s> two", "", "")))
    assert shown[4] == f"{given}\n"
    assert "### Instruction:\nwhat is </s> two\n" in given


# --- save --------------------------------------------------------------------------------------------------------


def test_a_saved_conversation_is_a_row_to_train_on(models: Path, talk: Reply, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    shown = talk(chat_config(models / "speaker"), "/save " + str(file), "什么是二 🦙", "/system you sat", "line one\\",
                 "line two", f"/save {file}", "/reset", "/system", "now", f"/save {file}")  # fmt: skip
    assert shown[0].startswith("the conversation is empty")
    assert shown[4] == f"2 turns appended to {file} as one row\n"
    assert shown[8] == f"1 turn appended to {file} as one row\n"
    examples = read_examples(str(file))
    assert examples.shape == "messages"
    assert [(example.turns, example.system) for example in examples.examples] == [
        ((Turn("什么是二 🦙", "", ANSWER), Turn("line one\nline two", "", ANSWER)), "you sat"),
        ((Turn("now", "", ANSWER),), ""),
    ]
    assert "什么是二 🦙" in file.read_text(encoding="utf-8")


def test_a_row_begins_on_a_line_of_its_own(models: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"messages": []}', encoding="utf-8")
    opened = open_talk(chat_config(models / "speaker"))
    opened.answer("now", SHORT, _silent)
    opened.save(str(file))
    assert [list(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()] == [["messages"]] * 2
