"""An adapter that was trained on a quantised base: merged into the full one, the difference measured and said."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from rich.console import Console
from tiny_models import tiny_model, write_adapter, write_base

from alpaca_lora.export.run import export_hf
from alpaca_lora.export.settings import HfExportConfig, SourceConfig, TargetConfig
from alpaca_lora.model.load import base_fingerprint, find_base


def _export(folder: Path, kind: str) -> dict[str, object]:
    base = write_base(folder / "base")
    adapter = write_adapter(folder / "adapter", tiny_model(), str(base))
    source = SourceConfig(base_model=str(base), adapter=str(adapter))
    record = {"base_fingerprint": base_fingerprint(find_base(source)), "settings": {"quantization": kind}}
    (adapter / "run.json").write_text(json.dumps(record), encoding="utf-8")
    output = export_hf(
        HfExportConfig(source=source, target=TargetConfig(output=str(folder / "out"))), Console(quiet=True)
    )
    return json.loads((output / "verification.json").read_text(encoding="utf-8"))


@pytest.mark.usefixtures("few_questions")
@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is here")
def test_without_bitsandbytes_it_is_said_that_nothing_was_measured(tmp_path: Path) -> None:
    record = _export(tmp_path, "nf4")
    assert record["verified"] is True
    assert record["measured"] == []
    assert "trained on a base in nf4, exported on the base in full precision; the difference was not measured" in str(
        record["notes"]
    )


@pytest.mark.usefixtures("few_questions")
@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_the_difference_is_measured(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("bitsandbytes")
    record = _export(tmp_path, kind)
    (measured,) = record["measured"]  # pyright: ignore[reportGeneralTypeIssues]
    assert kind in measured["program"]
    # Quantising 64 columns to 4 or 8 bits moves the answers, and far less than another model would.
    assert all(1e-7 < result["kl"] < 1 for result in measured["results"])
