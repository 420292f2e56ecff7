"""A merged Hugging Face folder: transformers loads PEFT's merge from it, and what was not trained is the base's."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from rich.console import Console
from safetensors import safe_open
from tiny_models import tiny_model, write_adapter, write_base
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from alpaca_lora.data.examples import Turn
from alpaca_lora.export.hf import hf_bytes, plan_shards, write_hf
from alpaca_lora.export.merge import DTYPES
from alpaca_lora.export.run import export_hf
from alpaca_lora.export.settings import HfExportConfig, SourceConfig, TargetConfig
from alpaca_lora.export.source import Source, open_source

INDEX = "model.safetensors.index.json"
TARGETS = ("q_proj.weight", "v_proj.weight")
LICENCE = "Do what you like with it.\n"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `base`, in bfloat16 but for its norms, and `adapter` on its query and value projections."""
    folder = tmp_path_factory.mktemp("models")
    base = write_base(folder / "base")
    model = tiny_model().bfloat16()
    for name, tensor in model.named_parameters():
        tensor.data = tensor.data.float() if "norm" in name else tensor.data
    model.generation_config = GenerationConfig(temperature=0.3, do_sample=True, eos_token_id=[2, 7])
    model.save_pretrained(base)
    (base / "LICENSE.txt").write_text(LICENCE, encoding="utf-8")
    (base / "README.md").write_text("---\nlicense: mit\n---\n# A base\n", encoding="utf-8")
    write_adapter(folder / "adapter", tiny_model(), str(base), lora_target_modules=["q_proj", "v_proj"])
    return folder


@pytest.fixture
def source(models: Path) -> Source:
    return open_source(SourceConfig(base_model=str(models / "base"), adapter=str(models / "adapter")))


def _write(source: Source, folder: Path, dtype: torch.dtype | None = None, shard_bytes: int = 10**9) -> dict[str, Any]:
    """Write an export; give its tensors, read as any program reads safetensors."""
    folder.mkdir()
    written: list[int] = []
    write_hf(source, folder, dtype=dtype, shard_bytes=shard_bytes, advance=written.append)
    tensors = _tensors(folder)
    sizes = [tensor.numel() * tensor.element_size() for tensor in tensors.values()]
    assert sorted(written) == sorted(sizes)
    assert sum(sizes) == hf_bytes(source.merged, dtype)
    return tensors


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            assert file.metadata() == {"format": "pt"}
            for name in file.keys():  # noqa: SIM118  not a dict
                assert name not in found
                found[name] = file.get_tensor(name)
    return found


def _peft_merge(models: Path) -> Any:
    base = AutoModelForCausalLM.from_pretrained(models / "base", dtype=torch.float32)
    return peft.PeftModel.from_pretrained(base, str(models / "adapter")).merge_and_unload().eval()


# --- the weights -------------------------------------------------------------------------------------------------


def test_transformers_loads_pefts_merge(models: Path, source: Source, tmp_path: Path) -> None:
    _write(source, tmp_path / "out", torch.float32)
    expected = _peft_merge(models)
    loaded: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    model, info = loaded
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert model.dtype == torch.float32
    for (name, found), wanted in zip(model.state_dict().items(), expected.state_dict().values(), strict=True):
        # PEFT rounds s * B A before it adds W, here both are one operation: a step or two of float32 below 1.
        torch.testing.assert_close(found, wanted, rtol=3e-7, atol=3e-7, msg=name)
    ids = torch.tensor([[1, 5, 9, 20, 44, 300]])
    with torch.inference_mode():
        # Logits of some 10 after two blocks that sum such steps over 64 to 96 terms.
        torch.testing.assert_close(model(ids).logits, expected(ids).logits, rtol=0, atol=2e-5)


def test_float32_holds_the_merge_bit_by_bit(source: Source, tmp_path: Path) -> None:
    tensors = _write(source, tmp_path / "out", torch.float32)
    assert tensors.keys() == source.merged.shapes.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, source.merged.read(name, torch.float32)), name


@pytest.mark.parametrize("asked", ["auto", "float32", "bfloat16", "float16"])
def test_only_the_targeted_tensors_differ_from_the_base(
    models: Path, source: Source, tmp_path: Path, asked: str
) -> None:
    dtype = DTYPES.get(asked)
    tensors, base = _write(source, tmp_path / "out", dtype), _tensors(models / "base")
    assert tensors.keys() == base.keys()
    for name, weight in base.items():
        wanted = dtype or (torch.float32 if "norm" in name else torch.bfloat16)
        assert tensors[name].dtype == wanted, name
        if name.endswith(TARGETS):
            assert not torch.equal(tensors[name], weight.to(wanted)), name
            assert torch.equal(tensors[name], source.adapter.layers[name].merge(weight).to(wanted)), name
        else:
            assert torch.equal(tensors[name], weight.to(wanted)), name
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert config["dtype"] == ("bfloat16" if asked == "auto" else asked)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert str(model.dtype) == f"torch.{config['dtype']}"


# --- shards ------------------------------------------------------------------------------------------------------


def test_shards_keep_to_the_limit_and_the_index_names_them(source: Source, tmp_path: Path) -> None:
    limit = 30_000  # the embedding and the head take 51,200 bytes each
    folder = tmp_path / "out"
    tensors = _write(source, folder, shard_bytes=limit)
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    assert files == [f"model-{number:05}-of-{len(files):05}.safetensors" for number in range(1, len(files) + 1)]
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in tensors.values())
    inside: dict[str, str] = {}
    alone = 0
    for name in files:
        with safe_open(folder / name, framework="pt") as file:
            names = list(file.keys())
        size = sum(tensors[key].nbytes for key in names)
        assert size <= limit or len(names) == 1
        alone += size > limit
        inside |= dict.fromkeys(names, name)
    assert alone == 2
    assert index["weight_map"] == inside
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    single = _write(source, tmp_path / "single")
    assert not (tmp_path / "single" / INDEX).exists()
    assert tensors.keys() == single.keys()
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, single[name].float()), name


@pytest.mark.parametrize(
    ("sizes", "limit", "expected"),
    [
        ({"a": 4, "b": 4, "c": 4}, 8, [["a", "b"], ["c"]]),
        ({"a": 4, "b": 4, "c": 4}, 12, [["a", "b", "c"]]),
        ({"a": 4, "b": 9, "c": 4}, 8, [["a"], ["b"], ["c"]]),
        ({"a": 9, "b": 4, "c": 4}, 8, [["a"], ["b", "c"]]),
        ({"a": 1}, 8, [["a"]]),
    ],
)
def test_shards_are_planned_by_hand(sizes: dict[str, int], limit: int, expected: list[list[str]]) -> None:
    assert plan_shards(sizes, limit) == expected


def test_every_file_is_aligned_and_covered(source: Source, tmp_path: Path) -> None:
    _write(source, tmp_path / "out", shard_bytes=30_000)
    for path in (tmp_path / "out").glob("*.safetensors"):
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        ends = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
        assert length % 8 == 0
        assert ends[0][0] == 0
        assert all(first[1] == second[0] for first, second in pairwise(ends))
        assert ends[-1][1] == len(data) - 8 - length


# --- what lies beside them ---------------------------------------------------------------------------------------


def test_the_folder_holds_all_that_another_program_needs(models: Path, source: Source, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    _write(source, folder)
    assert {path.name for path in folder.iterdir()} == {
        "model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
        "tokenizer.model", "chat_template.jinja", "LICENSE.txt", "README.md",
    }  # fmt: skip
    base = models / "base"
    for name in ("tokenizer.model", "LICENSE.txt"):
        assert (folder / name).read_bytes() == (base / name).read_bytes()
    ours, theirs = (json.loads((path / "config.json").read_text(encoding="utf-8")) for path in (folder, base))
    assert ours == theirs | {"dtype": "bfloat16", "eos_token_id": [2, 7]}
    assert GenerationConfig.from_pretrained(folder).eos_token_id == [2, 7]
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "license: mit" in card
    assert str(models) not in card


def test_the_tokenizer_renders_and_encodes_the_prompt_of_the_training(source: Source, tmp_path: Path) -> None:
    _write(source, tmp_path / "out")
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "out")
    question = "name the cat 🙂 on a mat"
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
    )
    segments = source.prompt.render([Turn(question, "", "")], "", open_ended=True)
    assert rendered.removeprefix("<s>") == "".join(segment.text for segment in segments).removeprefix("<s>")
    for text in (rendered.removeprefix("<s>"), "the cat", "  two  plus three", "你好"):
        ids = tokenizer(text)["input_ids"]
        assert ids == source.tokenizer(text)["input_ids"]
        assert ids[0] == 1
        assert ids.count(1) == 1


def test_an_exported_folder_can_be_read_by_others_and_has_its_name(models: Path, tmp_path: Path) -> None:
    config = HfExportConfig(
        source=SourceConfig(base_model=str(models / "base"), adapter=str(models / "adapter")),
        target=TargetConfig(output=str(tmp_path / "deep" / "out"), name="My model", verify=False),
        shard_gb=0.0001,
    )
    folder = export_hf(config, Console(quiet=True))
    assert folder == tmp_path / "deep" / "out"
    assert len(list(folder.glob("*.safetensors"))) > 2
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        path.name: 0o644 for path in folder.iterdir()
    }
    assert [path.name for path in folder.parent.iterdir()] == ["out"]
    assert "# My model" in (folder / "README.md").read_text(encoding="utf-8")
    assert not (folder / "verification.json").exists()
