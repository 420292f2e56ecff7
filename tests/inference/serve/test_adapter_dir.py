"""Adapters of a folder: checkpoints that a run writes meanwhile can be asked, removed ones are not shown."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import openai
import pytest
from tiny_models import tiny_model, write_adapter, write_base

from alpaca_lora.config import ModelConfig
from alpaca_lora.inference.models import Models
from alpaca_lora.inference.settings import AdaptersConfig, QueueConfig
from alpaca_lora.inference.torch_engine import TorchEngine


def test_checkpoints_come_and_go(serve: Any, tmp_path: Path) -> None:
    base, runs = write_base(tmp_path / "base"), tmp_path / "runs"
    runs.mkdir()
    models = Models(
        ModelConfig(base_model=str(base), dtype="float32", device="cpu"), AdaptersConfig(adapter_dir=str(runs))
    )

    def ask(model: str) -> str:
        return client.completions.create(model=model, prompt="the", max_tokens=8, temperature=0).choices[0].text

    def shown() -> list[str]:
        return [model.id for model in client.models.list()]

    with (
        serve(models, TorchEngine(models, QueueConfig())) as served,
        openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client,
    ):
        assert shown() == ["base"]
        name = "run/checkpoint-5"
        write_adapter(runs / name, tiny_model(), str(base), seed=3)
        assert ask(name) != ask("base")  # also where nobody has listed it yet
        assert shown() == ["base", name]
        written = (runs / name / "adapter_config.json").stat().st_mtime
        assert client.models.retrieve(name).created == int(written)
        shutil.rmtree(runs / name)
        assert shown() == ["base"]
        write_adapter(runs / "broken", tiny_model(), str(base), seed=4)
        (runs / "broken" / "adapter_config.json").write_text("{", encoding="utf-8")
        with pytest.raises(openai.InternalServerError, match="the adapter's config is not JSON") as refused:
            ask("broken")
        assert refused.value.status_code == 503
        shutil.rmtree(runs)
        assert shown() == ["base"]  # the folder is gone, and the server goes on
        with pytest.raises(openai.NotFoundError):
            ask("never-there")
