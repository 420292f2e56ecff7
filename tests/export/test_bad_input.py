"""Whatever a user can get wrong ends with exit code 2 and a message that helps, and leaves nothing half-written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_model, write_adapter, write_base

from alpaca_lora.cli import dispatch, run_reporting
from alpaca_lora.model.load import BasePlace, base_fingerprint

VERBS = ("hf", "adapter", "meta", "gguf", "gguf-lora", "ollama")
UP = "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight"
DOWN = "base_model.model.model.layers.1.mlp.up_proj.lora_A.weight"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, few_questions: None) -> Path:
    """A folder with `base`, `adapter` and a `dora` adapter for it."""
    folder = tmp_path_factory.mktemp("models")
    base = write_base(folder / "base")
    write_adapter(folder / "adapter", tiny_model(), str(base))
    write_adapter(folder / "dora", tiny_model(), str(base), use_dora=True)
    return folder


@pytest.fixture
def base(models: Path, tmp_path: Path) -> Path:
    """A base of one's own, to spoil."""
    return Path(shutil.copytree(models / "base", tmp_path / "base"))


@pytest.fixture
def adapter(models: Path, tmp_path: Path) -> Path:
    """An adapter of one's own, to spoil."""
    return Path(shutil.copytree(models / "adapter", tmp_path / "adapter"))


@pytest.fixture
def export(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """A function that runs `export VERB` into the folder `out/model`, and gives code, output and errors."""

    def run(verb: str, base: Path, adapter: Path, *words: str) -> tuple[int, str, str]:
        given = ["--base_model", str(base), "--adapter", str(adapter), *words]
        target = [] if "--output" in words else ["--output", str(tmp_path / "out" / "model")]
        capsys.readouterr()
        code = run_reporting(lambda: dispatch(["export", verb, *given, *target]))
        out, err = capsys.readouterr()
        return code, out, err

    return run


def _assert_refused(result: tuple[int, str, str], message: str, out: Path) -> None:
    """Check the exit code, that the message says what is wrong and what to do, and that nothing was written."""
    code, _, err = result
    assert code == 2, err
    report = err[err.index("error: ") :]
    assert message in report
    assert "\n  fix: " in report
    assert "Traceback" not in err
    assert not out.exists() or not any(out.iterdir()), "something was left behind"


# --- the adapter -------------------------------------------------------------------------------------------------


def _record(adapter: Path, fingerprint: str) -> None:
    (adapter / "run.json").write_text(json.dumps({"base_fingerprint": fingerprint}), encoding="utf-8")


@pytest.mark.parametrize("verb", VERBS)
def test_the_adapter_of_another_base_is_refused(export: Any, base: Path, adapter: Path, verb: str) -> None:
    _record(adapter, base_fingerprint(BasePlace("base", base, None)))
    write_base(base, seed=1)
    refused = export(verb, base, adapter)
    _assert_refused(refused, "is not the base this adapter was trained on", base.parent / "out")
    assert "--allow_base_mismatch" in refused[2]


def test_a_mismatch_can_be_allowed(export: Any, base: Path, adapter: Path, tmp_path: Path) -> None:
    _record(adapter, "0" * 64)
    code, out, err = export("hf", base, adapter, "--allow_base_mismatch", "--verify=False")
    assert (code, err) == (0, "")
    assert "exported nevertheless (--allow_base_mismatch)" in out
    assert (tmp_path / "out" / "model" / "model.safetensors").is_file()


def test_the_right_base_needs_no_permission(export: Any, base: Path, adapter: Path) -> None:
    _record(adapter, base_fingerprint(BasePlace("base", base, None)))
    code, out, _ = export("hf", base, adapter, "--verify=False")
    assert code == 0
    assert "fingerprint" not in out
    assert "NOT VERIFIED, as asked" in out


def _tensors(adapter: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(adapter / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, adapter / "adapter_model.safetensors")


def _zero_up(tensors: dict[str, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        if ".lora_B." in name:
            tensor.zero_()


def _without_layer(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[UP], tensors[DOWN]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop(UP), "model.layers.1.mlp.up_proj has no lora_B"),
        (lambda tensors: tensors.pop(DOWN), "model.layers.1.mlp.up_proj has no lora_A"),
        (_without_layer, "2 matrices are in one only"),
        (lambda tensors: tensors[UP].fill_(torch.nan), "hold NaN or infinity"),
        (_zero_up, "the adapter changes nothing"),
    ],
)
def test_a_broken_adapter_is_refused(
    export: Any, base: Path, adapter: Path, change: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    _tensors(adapter, change)
    _assert_refused(export("hf", base, adapter), message, base.parent / "out")


@pytest.mark.parametrize("verb", VERBS)
def test_an_adapter_of_another_size_is_refused(export: Any, adapter: Path, tmp_path: Path, verb: str) -> None:
    other = write_base(tmp_path / "other", intermediate_size=128)
    _assert_refused(export(verb, other, adapter), "the adapter does not fit this base", tmp_path / "out")


class _Malicious:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.victim,)


def test_a_pickled_adapter_with_code_is_refused_and_not_run(
    export: Any, base: Path, adapter: Path, tmp_path: Path
) -> None:
    tensors: dict[str, Any] = dict(load_file(adapter / "adapter_model.safetensors"))
    (adapter / "adapter_model.safetensors").unlink()
    torch.save(tensors | {"extra": _Malicious(tmp_path / "victim")}, adapter / "adapter_model.bin")
    _assert_refused(export("hf", base, adapter), "the adapter's weights cannot be read", tmp_path / "out")
    assert not (tmp_path / "victim").exists()
    torch.save(tensors, adapter / "adapter_model.bin")
    assert export("hf", base, adapter, "--verify=False")[0] == 0


def test_dora_has_no_gguf_of_its_own(export: Any, models: Path, tmp_path: Path) -> None:
    refused = export("gguf-lora", models / "base", models / "dora")
    _assert_refused(refused, "it is a DoRA, whose magnitudes llama.cpp has no place for", tmp_path / "out")
    assert "export gguf instead" in refused[2]


# --- the base ----------------------------------------------------------------------------------------------------


def test_a_tokenizer_larger_than_the_model_is_refused(export: Any, tmp_path: Path) -> None:
    base = write_base(tmp_path / "small", vocab_size=100)
    adapter = write_adapter(tmp_path / "its", tiny_model(vocab_size=100), str(base))
    _assert_refused(export("hf", base, adapter), "entries, the model only 100 embeddings", tmp_path / "out")


@pytest.mark.parametrize("verb", VERBS)
def test_a_damaged_shard_is_refused(export: Any, base: Path, adapter: Path, verb: str) -> None:
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    refused = export(verb, base, adapter)
    _assert_refused(refused, "the shard cannot be read", base.parent / "out")
    assert str(weights) in refused[2]


@pytest.mark.parametrize(
    ("verb", "message"),
    [("gguf", "does not know the architecture 'gemma2'"), ("meta", "cannot hold this model: it is a gemma2 model")],
)
def test_an_architecture_that_a_format_cannot_hold_is_refused(
    export: Any, tmp_path: Path, verb: str, message: str
) -> None:
    base = write_base(tmp_path / "gemma2", "gemma2")
    adapter = write_adapter(tmp_path / "its", tiny_model("gemma2"), str(base))
    refused = export(verb, base, adapter)
    _assert_refused(refused, message, tmp_path / "out")
    assert "export hf" in refused[2]


@pytest.mark.parametrize("verb", ["hf", "gguf", "ollama"])
def test_an_adapter_on_a_tied_embedding_is_refused_where_one_is_held_for_both(
    export: Any, tmp_path: Path, verb: str
) -> None:
    base = write_base(tmp_path / "tied", tie_word_embeddings=True)
    adapter = write_adapter(tmp_path / "its", tiny_model(tie_word_embeddings=True), str(base))
    assert export(verb, base, adapter, "--output", str(tmp_path / "fine"), "--verify=False")[0] == 0
    name = "base_model.model.model.embed_tokens.lora_embedding_"
    _tensors(adapter, lambda tensors: tensors.update({f"{name}A": torch.ones(16, 400), f"{name}B": torch.ones(64, 16)}))
    refused = export(verb, base, adapter)
    _assert_refused(refused, "changes model.embed_tokens.weight, which this base uses as", tmp_path / "out")


# --- the place ---------------------------------------------------------------------------------------------------


def test_an_output_that_is_not_empty_stays_as_it_is(export: Any, models: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine", encoding="utf-8")
    for place in (tmp_path / "full", tmp_path / "full" / "mine.txt"):
        refused = export("hf", models / "base", models / "adapter", "--output", str(place))
        _assert_refused(refused, f"{place} is not an empty folder", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
    assert (tmp_path / "full" / "mine.txt").read_text(encoding="utf-8") == "mine"


def test_an_output_must_be_given(export: Any, models: Path, tmp_path: Path) -> None:
    refused = export("hf", models / "base", models / "adapter", "--output", "")
    _assert_refused(refused, "no output folder given", tmp_path / "out")


@pytest.mark.parametrize("place", [".", "../empty", "nested/.."])
def test_an_empty_folder_may_be_named_in_any_way(
    export: Any, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    code, _, err = export("hf", models / "base", models / "adapter", "--output", place, "--verify=False")
    assert (code, err) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
    assert (tmp_path / "empty" / "model.safetensors").is_file()


def test_what_a_killed_export_left_is_replaced(export: Any, models: Path, tmp_path: Path) -> None:
    left = tmp_path / "out" / ".model.partial"
    left.mkdir(parents=True)
    (left / "old.safetensors").write_text("half", encoding="utf-8")
    assert export("hf", models / "base", models / "adapter", "--verify=False")[0] == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model"]
    assert not (tmp_path / "out" / "model" / "old.safetensors").exists()


def test_a_name_is_no_path(export: Any, base: Path, adapter: Path) -> None:
    _assert_refused(export("gguf", base, adapter, "--name", "a/b"), "--name is 'a/b'", adapter.parent / "out")


def test_a_context_too_short_for_any_question_is_no_verification(export: Any, models: Path, tmp_path: Path) -> None:
    """An export that was compared on nothing must not count as compared."""
    base = write_base(tmp_path / "short", max_position_embeddings=32)
    trained = write_adapter(tmp_path / "mine", tiny_model(max_position_embeddings=32), str(base))
    _assert_refused(export("hf", base, trained), "too few for any of the questions", tmp_path / "out")
