"""One base with its adapters: which are found, when they are loaded, what each computes, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_model, write_adapter, write_base
from torch import Tensor

from alpaca_lora.config import ModelConfig
from alpaca_lora.data.encoder import TextEncoder
from alpaca_lora.data.examples import Turn
from alpaca_lora.data.prompts import load_prompt
from alpaca_lora.data.tokens import encode_prompt
from alpaca_lora.errors import UserError
from alpaca_lora.inference import models as models_module
from alpaca_lora.inference.models import Models, Prompts, find_adapters
from alpaca_lora.inference.settings import AdaptersConfig, SamplingConfig
from alpaca_lora.model.tokenizer import load_tokenizer

IDS = torch.tensor([[1, 30, 40, 50, 60, 70]])
SAMPLING = SamplingConfig()
Open = Callable[..., Models]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, and `runs` with the adapters `one` and `deep/checkpoint-10`."""
    root = tmp_path_factory.mktemp("models")
    load_tokenizer(write_base(root / "base"))[0].save_pretrained(root / "base")
    for seed, name in enumerate(("one", "deep/checkpoint-10"), start=1):
        write_adapter(root / "runs" / name, tiny_model(), str(root / "base"), seed, lora_r=4)
    return root


@pytest.fixture
def runs(root: Path, tmp_path: Path) -> Path:
    """The adapters in a folder of this test's own."""
    return Path(shutil.copytree(root / "runs", tmp_path / "runs"))


@pytest.fixture
def opened(root: Path) -> Open:
    """Loads the base with some adapters."""

    def load(*adapters: Path, **settings: Any) -> Models:
        model = ModelConfig(base_model=str(root / "base"), device="cpu", dtype="float32")
        return Models(model, AdaptersConfig(adapter=tuple(map(str, adapters)), **settings))

    return load


@torch.no_grad()
def _logits(model: Any) -> Tensor:
    return model(input_ids=IDS).logits


def _expected(adapter: Path | None) -> Tensor:
    """Compute with stock PEFT on a base of its own."""
    base = tiny_model()
    return _logits(peft.PeftModel.from_pretrained(base, adapter).eval() if adapter else base)


def _addresses(model: Any) -> set[int]:
    return {parameter.data_ptr() for parameter in model.parameters()}


def _lora_layers(model: Any) -> int:
    return sum(hasattr(module, "lora_A") for module in model.modules())


def _break(adapter: Path) -> Path:
    """Leave the second block's matrices out of an adapter: its config still names them."""
    file = adapter / "adapter_model.safetensors"
    save_file({name: tensor for name, tensor in load_file(file).items() if ".layers.1." not in name}, file)
    return adapter


# --- which are there ---------------------------------------------------------------------------------------------


def test_adapters_are_found_three_folders_deep_and_named_by_their_path(root: Path, tmp_path: Path) -> None:
    for place in ("one", "a/two", "a/b/three", "a/b/c/four", "base"):
        shutil.copytree(root / "runs" / "one", tmp_path / place)
    (tmp_path / "no-adapter").mkdir()
    found = find_adapters(tmp_path)
    assert found == {name: tmp_path / name for name in ("one", "a/two", "a/b/three")}  # `base` is the bare one's name
    assert find_adapters(tmp_path / "one") == {"one": tmp_path / "one"}


def test_a_folder_of_adapters_must_exist(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist") as error:
        opened(adapter_dir=str(tmp_path / "nowhere"))
    assert error.value.where == "--adapter_dir"


def test_names_begin_with_the_base_and_the_last_one_given_answers_first(opened: Open, runs: Path) -> None:
    found = ["one", "deep/checkpoint-10"]
    assert (opened().names, opened().first) == (["base"], "base")
    models = opened(adapter_dir=str(runs))
    assert (models.names, models.first, models.active) == (["base", *found], "base", "base")
    models = opened(runs / "deep" / "checkpoint-10", adapter_dir=str(runs))  # the same folder is one adapter
    assert (models.names, models.first, models.active) == (["base", "checkpoint-10", "one"], *["checkpoint-10"] * 2)


def test_what_a_run_has_written_since_is_found(opened: Open, runs: Path) -> None:
    models = opened(adapter_dir=str(runs))
    shutil.copytree(runs / "deep" / "checkpoint-10", runs / "deep" / "checkpoint-20")
    with pytest.raises(UserError, match=r"(?s)there is no adapter deep/checkpoint-20.*one of: base, one, deep"):
        models.select("deep/checkpoint-20")
    models.refresh()
    assert models.names == ["base", "one", "deep/checkpoint-10", "deep/checkpoint-20"]
    models.select("deep/checkpoint-20")
    assert torch.equal(_logits(models.model), _expected(runs / "deep" / "checkpoint-10"))


def test_a_folder_does_not_take_the_name_of_an_adapter_that_was_given(opened: Open, runs: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(runs / "deep" / "checkpoint-10", tmp_path / "other" / "one"))
    models = opened(other, adapter_dir=str(runs))
    assert models.folders["one"] == other
    models.refresh()
    assert models.folders["one"] == other


def test_the_recorded_base_is_taken_and_noted(root: Path, runs: Path) -> None:
    prompts = Prompts(ModelConfig(device="cpu"), AdaptersConfig(adapter_dir=str(runs)))
    assert prompts.base_name == str(root / "base")
    assert prompts.notes == [
        f"the base model is {root / 'base'}, as recorded with the adapter; --base_model gives another"
    ]


# --- what they compute -------------------------------------------------------------------------------------------


def test_an_adapter_is_loaded_when_it_is_first_asked_and_the_base_never_again(
    opened: Open, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    for function in ("load_base_model", "load_adapter"):
        real = getattr(models_module, function)
        monkeypatch.setattr(
            models_module, function, lambda *given, real=real, name=function: (loads.append(name), real(*given))[1]
        )
    models = opened(adapter_dir=str(runs))
    base = _addresses(models.model)
    assert (loads, _lora_layers(models.model)) == (["load_base_model"], 0)
    for name in ("one", "base", "deep/checkpoint-10", "one", "base"):
        models.select(name)
        assert models.active == name
        folder = None if name == "base" else runs / name
        assert torch.equal(_logits(models.model), _expected(folder))
        assert _addresses(models.model) >= base
    assert loads == ["load_base_model", "load_adapter", "load_adapter"]
    assert not any(parameter.requires_grad for parameter in models.model.parameters())


def test_a_broken_adapter_leaves_the_others_as_they_are(opened: Open, runs: Path) -> None:
    shutil.copytree(runs / "one", runs / "broken")
    _break(runs / "broken")
    models = opened(adapter_dir=str(runs))
    for name in ("base", "one", "deep/checkpoint-10", "base", "one"):
        models.select(name)
        with pytest.raises(UserError, match="name different layers"):
            models.select("broken")
        assert models.active == name
        folder = None if name == "base" else runs / name
        assert torch.equal(_logits(models.model), _expected(folder)), name


def test_a_load_that_is_interrupted_leaves_the_base_as_it_was(
    opened: Open, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, real = opened(adapter_dir=str(runs)), models_module.load_adapter

    def interrupted(*given: Any) -> Any:
        real(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(models_module, "load_adapter", interrupted)
    with pytest.raises(KeyboardInterrupt):
        models.select("one")
    monkeypatch.setattr(models_module, "load_adapter", real)
    assert (models.active, _lora_layers(models.model)) == ("base", 0)
    assert torch.equal(_logits(models.model), _expected(None))
    models.select("one")
    assert torch.equal(_logits(models.model), _expected(runs / "one"))


def test_a_merged_adapter_is_pefts_own_merge_and_the_only_one_that_answers(opened: Open, runs: Path) -> None:
    models = opened(runs / "one", merge_adapter=True)
    merged = peft.PeftModel.from_pretrained(tiny_model(), runs / "one").merge_and_unload()
    assert _lora_layers(models.model) == 0
    found, expected = models.model.state_dict(), merged.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    changed = [name for name, tensor in tiny_model().state_dict().items() if not torch.equal(tensor, expected[name])]
    assert len(changed) == 14  # 7 linear layers in each of 2 blocks
    assert (models.names, models.first, models.active) == (["one"], "one", "one")
    models.select("one")
    for call in (models.select, models.prompt, lambda name: models.request(name, [], SAMPLING)):
        with pytest.raises(UserError, match=r"(?s)there is no adapter base.*one of: one"):
            call("base")


@pytest.mark.parametrize("given", [(), ("one", "deep/checkpoint-10"), ("dir",), ("one", "dir")])
def test_only_one_adapter_is_merged(opened: Open, runs: Path, given: tuple[str, ...]) -> None:
    adapters = [runs / name for name in given if name != "dir"]
    with pytest.raises(UserError, match="--merge_adapter takes one adapter"):
        opened(*adapters, merge_adapter=True, adapter_dir=str(runs) if "dir" in given else "")


def test_a_quantised_base_is_not_merged(root: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models_module, "load_base_model", lambda *_: pytest.fail("the base was loaded for nothing"))
    model = ModelConfig(base_model=str(root / "base"), quantization="nf4")
    with pytest.raises(UserError, match=r"(?s)a quantised base would round the adapter away.*--quantization none"):
        Models(model, AdaptersConfig(adapter=(str(runs / "one"),), merge_adapter=True))


# --- how they are asked ------------------------------------------------------------------------------------------


def test_each_adapter_is_asked_in_the_format_of_its_training(opened: Open, root: Path, runs: Path) -> None:
    template = {"description": "", "prompt_input": "{instruction} {input} =", "prompt_no_input": "{instruction} ="}
    (runs / "one" / "prompt_template.json").write_text(json.dumps(template | {"response_split": "="}), encoding="utf-8")
    models, turn = opened(adapter_dir=str(runs)), Turn("what is two", "", "")
    tokenizer, _ = load_tokenizer(root / "base")
    encoder, alpaca = TextEncoder(tokenizer), load_prompt("alpaca", tokenizer)
    for name in ("base", "deep/checkpoint-10"):
        request = models.request(name, [turn], SAMPLING, system="now", stop=["days"])
        assert request.ids == encode_prompt(encoder, alpaca, [turn], "now")
        assert (request.model, request.end, request.stop) == (name, "</s>", ["days"])
    request = models.request("one", [turn], SAMPLING)
    assert models.show(request) == "<s> what is two ="
    assert 0 < request.heads[0] < len(request.ids)
    assert opened(adapter_dir=str(runs), prompt_template_name="alpaca").request("one", [turn], SAMPLING).ids == (
        encode_prompt(encoder, alpaca, [turn], "")
    )


def test_a_raw_request_is_the_text_alone_and_special_tokens_in_it_are_text(opened: Open, root: Path) -> None:
    models = opened()
    tokenizer, _ = load_tokenizer(root / "base")
    plain = models.raw_request("base", "what is two", SAMPLING, stop=["plus"])
    assert plain.ids == tokenizer("what is two")["input_ids"]
    assert (plain.heads, plain.end, plain.stop) == ((), "", ["plus"])
    special = models.raw_request("base", "two</s> plus", SAMPLING)
    assert tokenizer.eos_token_id not in special.ids
    assert models.show(special) == "<s> two</s> plus"
    with pytest.raises(UserError, match="there is no adapter one"):
        models.raw_request("one", "two", SAMPLING)
