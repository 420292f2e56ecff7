"""More of the terminal chat: its commands, adapters and ends."""

from __future__ import annotations

import io
import shutil
import signal
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from chat_sessions import SHORT, Terminal, chat_config, prompt_ids, write_chat_models
from tiny_models import chain_model, write_base

from alpaca_lora.cli import read_command
from alpaca_lora.config import ModelConfig
from alpaca_lora.data.examples import Turn
from alpaca_lora.errors import UserError
from alpaca_lora.inference import answerer as answerer_module
from alpaca_lora.inference import chat as chat_module
from alpaca_lora.inference import models as models_module
from alpaca_lora.inference.chat import chat
from alpaca_lora.inference.chat_commands import completions
from alpaca_lora.inference.settings import AdaptersConfig, ChatConfig
from alpaca_lora.inference.talk import open_talk
from alpaca_lora.model.tokenizer import load_tokenizer

Reply = Callable[..., tuple[str, str]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders: `speaker` answers ANSWER to anything; `random` with the adapters `one` and `two`."""
    return write_chat_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Reply:
    """Type lines into a chat and leave; gives standard output and standard error."""

    def run(config: ChatConfig, *lines: str) -> tuple[str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        chat(config)
        return tuple(capsys.readouterr())

    return run


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Collects the ids that the model is given at each turn; the answers are the real ones."""
    prompts: list[list[int]] = []
    steps = answerer_module.answer_steps

    def recording(model: Any, tokenizer: Any, ids: Any, *args: Any, **more: Any) -> Any:
        prompts.append(list(ids))
        return steps(model, tokenizer, ids, *args, **more)

    monkeypatch.setattr(answerer_module, "answer_steps", recording)
    return prompts


def test_the_recorded_revision_goes_with_the_recorded_base(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(models / "one", adapter)
    path = adapter / "adapter_config.json"
    path.write_text(path.read_text().replace('"revision": null', '"revision": "abc"'))
    wanted: list[ModelConfig] = []

    def find(model: ModelConfig) -> Any:
        wanted.append(model)
        raise UserError("far enough")

    monkeypatch.setattr(models_module, "find_base", find)
    for revision in (None, "mine"):
        model = ModelConfig(base_revision=revision)
        with pytest.raises(UserError, match="far enough"):
            open_talk(ChatConfig(model=model, adapters=AdaptersConfig(adapter=(str(adapter),))))
    assert [model.base_revision for model in wanted] == ["abc", "mine"]


def test_an_adapter_that_records_no_base_needs_one(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "one", tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(path.read_text().replace(f'"{models / "random"}"', "null"))
    with pytest.raises(UserError, match=r"(?s)no base model given.*--base_model"):
        open_talk(chat_config(None, tmp_path / "adapter"))


def _with_template(adapter: Path, folder: Path, name: str, content: str) -> Path:
    shutil.copytree(adapter, folder)
    (folder / name).write_text(content, encoding="utf-8")
    return folder


def test_the_template_recorded_with_the_adapter_is_used(
    models: Path, talk: Reply, given: list[list[int]], tmp_path: Path
) -> None:
    short = (resources.files("alpaca_lora") / "assets" / "templates" / "alpaca_short.json").read_text(encoding="utf-8")
    adapter = _with_template(models / "one", tmp_path / "adapter", "prompt_template.json", short)
    talk(chat_config(models / "random", adapter), "now", "/reset", "/adapter base", "now")
    talk(chat_config(models / "random", adapter, prompt_template_name="vigogne"), "now")
    expected = [prompt_ids(models / "random", Turn("now", "", ""), template=name) for name in (
        "alpaca_short", "alpaca", "vigogne")]  # fmt: skip
    assert given == expected


def test_each_adapter_keeps_its_own_chat_template(
    models: Path, talk: Reply, given: list[list[int]], tmp_path: Path
) -> None:
    adapters = [
        _with_template(
            models / "one", tmp_path / name, "chat_template.jinja",
            f"{{% for message in messages %}}{name} {{{{ message['content'] }}}}\n{{% endfor %}}",
        )
        for name in ("cat", "mat")
    ]  # fmt: skip
    talk(chat_config(models / "random", *adapters), "now", "/reset", "/adapter cat", "now")
    tokenizer, _ = load_tokenizer(models / "random")
    assert [tokenizer.decode(ids, skip_special_tokens=True) for ids in given] == ["mat now\n", "cat now\n"]


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (["one", "copy/one"], "has the name of another adapter"),
        (["base"], "has the name of the bare base model"),
        (["random"], "is no adapter: it has no adapter_config.json"),
        (["./nowhere"], "the adapter folder ./nowhere does not exist"),
        (["someone/adapter"], "someone/adapter is not in the local cache"),
    ],
)
def test_adapters_that_cannot_be_told_apart_or_found_are_refused(
    models: Path, tmp_path: Path, places: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source, target in (("one", "one"), ("one", "copy/one"), ("one", "base"), ("random", "random")):
        shutil.copytree(models / source, tmp_path / target)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        open_talk(
            chat_config(models / "random", *map(Path, places)) if "./" not in places[0] else _spelled(models, places)
        )
    assert message in str(error.value)


def _spelled(models: Path, places: list[str]) -> ChatConfig:
    model = ModelConfig(base_model=str(models / "random"), device="cpu", dtype="float32")
    return ChatConfig(model=model, adapters=AdaptersConfig(adapter=tuple(places)))


def test_an_adapter_in_the_present_folder_has_that_folders_name(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(models / "one")
    assert open_talk(chat_config(models / "random", Path())).models.names == ["base", "one"]


def test_the_command_line_takes_several_adapters() -> None:
    words = ["chat", "--adapter", "a/one", "--adapter", "b/two", "--temperature", "0.5", "--prompt", "--x"]
    _, bound = read_command([*words[:-1], "hi"])
    config: ChatConfig = bound.arguments["config"]
    assert config.adapters.adapter == ("a/one", "b/two")
    assert (config.sampling.temperature, config.prompt) == (0.5, "hi")


# --- completion --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/", ["/adapter ", "/compare ", "/retry ", "/prompt ", "/system ", "/save ", "/reset ", "/help ", "/quit "]),
        ("/re", ["/retry ", "/reset "]),
        ("/adapter ", ["base ", "one ", "two "]),
        ("/adapter t", ["two "]),
        ("/compare one b", ["base "]),
        ("/system t", []),
        ("what is t", []),
        ("", []),
    ],
)
def test_commands_and_adapters_are_completed(models: Path, line: str, words: list[str]) -> None:
    opened = open_talk(chat_config(models / "random", models / "one", models / "two"))
    assert completions(opened, line) == words


@pytest.mark.parametrize(
    ("place", "message"),
    [("", "ends in .jsonl"), ("rows.json", "ends in .jsonl"), ("none/rows.jsonl", "cannot be saved: No such file")],
)
def test_what_cannot_be_saved_is_said(
    models: Path, talk: Reply, tmp_path: Path, place: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out, _ = talk(chat_config(models / "speaker"), "now", f"/save {place}", "now")
    said = out.split("\n> ")[2:]
    assert message in said[0]
    assert said[1] == "the cat\n"
    assert list(tmp_path.iterdir()) == []


# --- interruptions -----------------------------------------------------------------------------------------------


def test_an_interrupted_answer_joins_the_conversation_as_far_as_it_came(models: Path) -> None:
    opened = open_talk(chat_config(models / "speaker"))

    def stop(piece: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opened.answer("what is two", SHORT, stop)
    assert opened.turns == [Turn("what is two", "", "the")]


def test_an_interrupted_single_prompt_ends_the_program(models: Path, talk: Reply, monkeypatch: Any) -> None:
    monkeypatch.setattr(chat_module, "_show", lambda piece: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        talk(chat_config(models / "speaker", prompt="now"))


def test_ctrl_c_stops_an_answer_and_ctrl_d_the_program(tmp_path: Path) -> None:
    base = write_base(tmp_path / "endless")
    tokenizer, _ = load_tokenizer(base)
    cat_mat = [tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in ("cat", "mat")]
    chain_model(cat_mat, max_position_embeddings=10**6).save_pretrained(base)  # cat mat cat mat ...
    limit = ["--max_new_tokens", "900000", "--device", "cpu", "--dtype", "float32"]
    terminal = Terminal("-m", "alpaca_lora", "chat", "--base_model", str(base), *limit, state=tmp_path)
    try:
        terminal.wait_for("/help lists the commands.")
        terminal.wait_for("> ")
        terminal.type("what is two\n")
        terminal.wait_for("cat mat cat mat")
        terminal.process.send_signal(signal.SIGINT)
        terminal.wait_for("[stopped]")
        terminal.wait_for("> ")
        terminal.press_ctrl_c_until("/quit or Ctrl-D leaves")
        terminal.type("/adapter\n")
        terminal.wait_for("* base")
        terminal.wait_for("> ")
        assert terminal.leave() == 0
    finally:
        terminal.close()
