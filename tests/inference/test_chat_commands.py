"""More of the terminal chat: its commands, adapters and ends."""

from __future__ import annotations

import io
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from tiny_models import chain_model, tiny_model, write_adapter, write_base

from alpaca_lora.cli import read_command
from alpaca_lora.config import ChatConfig, ModelConfig, SamplingConfig
from alpaca_lora.data.encoder import TextEncoder
from alpaca_lora.data.examples import Turn
from alpaca_lora.data.prompts import load_prompt
from alpaca_lora.data.tokens import encode_prompt
from alpaca_lora.errors import UserError
from alpaca_lora.inference import chat as chat_module
from alpaca_lora.inference.chat import chat, open_talk
from alpaca_lora.model.tokenizer import load_tokenizer

ANSWER = "the cat"
CONTEXT = 4096
SHORT = SamplingConfig(max_new_tokens=12)
Reply = Callable[..., tuple[str, str]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders: `speaker` answers ANSWER to anything; `random` with the adapters `one` and `two`."""
    root = tmp_path_factory.mktemp("models")
    for name in ("speaker", "random"):
        write_base(root / name, max_position_embeddings=CONTEXT)
        load_tokenizer(root / name)[0].save_pretrained(root / name)  # with its padding named, so that nothing is noted
    tokenizer, _ = load_tokenizer(root / "speaker")
    ids = tokenizer(ANSWER, add_special_tokens=False)["input_ids"]
    chain_model([*ids, tokenizer.eos_token_id], max_position_embeddings=CONTEXT).save_pretrained(root / "speaker")
    for seed, name in enumerate(("one", "two"), start=1):
        base = tiny_model(max_position_embeddings=CONTEXT)
        write_adapter(root / name, base, str(root / "random"), seed, lora_r=4)
    return root


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
    stream = chat_module.stream_text

    def recording(model: Any, tokenizer: Any, ids: Any, *args: Any, **more: Any) -> Any:
        prompts.append(list(ids))
        return stream(model, tokenizer, ids, *args, **more)

    monkeypatch.setattr(chat_module, "stream_text", recording)
    return prompts


def _config(base: Path | None, *adapters: Path, **settings: Any) -> ChatConfig:
    model = ModelConfig(base_model=str(base) if base else "", device="cpu", dtype="float32")
    return ChatConfig(model=model, adapter=tuple(map(str, adapters)), **{"sampling": SHORT} | settings)


def _prompt_ids(base: Path, *turns: Turn, template: str = "alpaca", system: str = "") -> list[int]:
    tokenizer, _ = load_tokenizer(base)
    return encode_prompt(TextEncoder(tokenizer), load_prompt(template, tokenizer), turns, system)


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

    monkeypatch.setattr(chat_module, "find_base", find)
    for revision in (None, "mine"):
        model = ModelConfig(base_revision=revision)
        with pytest.raises(UserError, match="far enough"):
            open_talk(ChatConfig(model=model, adapter=(str(adapter),)))
    assert [model.base_revision for model in wanted] == ["abc", "mine"]


def test_an_adapter_that_records_no_base_needs_one(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "one", tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(path.read_text().replace(f'"{models / "random"}"', "null"))
    with pytest.raises(UserError, match=r"(?s)no base model given.*--base_model"):
        open_talk(_config(None, tmp_path / "adapter"))


def _with_template(adapter: Path, folder: Path, name: str, content: str) -> Path:
    shutil.copytree(adapter, folder)
    (folder / name).write_text(content, encoding="utf-8")
    return folder


def test_the_template_recorded_with_the_adapter_is_used(
    models: Path, talk: Reply, given: list[list[int]], tmp_path: Path
) -> None:
    short = (resources.files("alpaca_lora") / "assets" / "templates" / "alpaca_short.json").read_text(encoding="utf-8")
    adapter = _with_template(models / "one", tmp_path / "adapter", "prompt_template.json", short)
    talk(_config(models / "random", adapter), "now", "/reset", "/adapter base", "now")
    talk(_config(models / "random", adapter, prompt_template_name="vigogne"), "now")
    expected = [_prompt_ids(models / "random", Turn("now", "", ""), template=name) for name in (
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
    talk(_config(models / "random", *adapters), "now", "/reset", "/adapter cat", "now")
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
        open_talk(_config(models / "random", *map(Path, places)) if "./" not in places[0] else _spelled(models, places))
    assert message in str(error.value)


def _spelled(models: Path, places: list[str]) -> ChatConfig:
    return ChatConfig(model=ModelConfig(base_model=str(models / "random")), adapter=tuple(places))


def test_an_adapter_in_the_present_folder_has_that_folders_name(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(models / "one")
    assert list(open_talk(_config(models / "random", Path())).prompts) == ["base", "one"]


def test_the_command_line_takes_several_adapters() -> None:
    words = ["chat", "--adapter", "a/one", "--adapter", "b/two", "--temperature", "0.5", "--prompt", "--x"]
    _, bound = read_command([*words[:-1], "hi"])
    config: ChatConfig = bound.arguments["config"]
    assert config.adapter == ("a/one", "b/two")
    assert (config.sampling.temperature, config.prompt) == (0.5, "hi")


# --- interruptions -----------------------------------------------------------------------------------------------


def test_an_interrupted_answer_joins_the_conversation_as_far_as_it_came(models: Path) -> None:
    opened = open_talk(_config(models / "speaker"))

    def stop(piece: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opened.answer("what is two", SHORT, stop)
    assert opened.turns == [Turn("what is two", "", "the")]


def test_an_interrupted_single_prompt_ends_the_program(models: Path, talk: Reply, monkeypatch: Any) -> None:
    monkeypatch.setattr(chat_module, "_show", lambda piece: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        talk(_config(models / "speaker", prompt="now"))


class Terminal:
    """The program on a pseudo-terminal, as a person sees it."""

    def __init__(self, *arguments: str) -> None:
        self.mine, its = os.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "alpaca_lora", *arguments],
            stdin=its,
            stdout=its,
            stderr=its,
            start_new_session=True,
            env=os.environ | {"TERM": "dumb"},
        )
        os.close(its)
        self.seen = ""

    def wait_for(self, text: str) -> None:
        """Read until a text has come since the last one waited for."""
        while text not in self.seen:
            assert select.select([self.mine], [], [], 60)[0], f"nothing came for a minute; seen: {self.seen[-200:]!r}"
            try:
                piece = os.read(self.mine, 4096)
            except OSError:  # Linux says so when the other side is closed
                piece = b""
            assert piece, f"the program ended; since the last match: {self.seen!r}"
            self.seen += piece.decode("utf-8", "replace")
        self.seen = self.seen.split(text, 1)[1]

    def press_ctrl_c_until(self, text: str) -> None:
        """Interrupt until an answer comes: Python sees a signal that arrives just before it waits only after that."""
        for _ in range(30):
            self.process.send_signal(signal.SIGINT)
            if select.select([self.mine], [], [], 2)[0]:
                break
        self.wait_for(text)

    def type(self, text: str) -> None:
        os.write(self.mine, text.encode())


def test_ctrl_c_stops_an_answer_and_ctrl_d_the_program(tmp_path: Path) -> None:
    base = write_base(tmp_path / "endless")
    tokenizer, _ = load_tokenizer(base)
    cat_mat = [tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in ("cat", "mat")]
    chain_model(cat_mat, max_position_embeddings=10**6).save_pretrained(base)  # cat mat cat mat ...
    limit = ["--max_new_tokens", "900000", "--device", "cpu", "--dtype", "float32"]
    terminal = Terminal("chat", "--base_model", str(base), *limit)
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
        terminal.type("\x04")
        assert terminal.process.wait(timeout=60) == 0
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.mine)
