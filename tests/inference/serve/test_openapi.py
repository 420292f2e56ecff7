"""The description at /openapi.json is true: schemathesis makes requests from it, and none ends in a 5xx."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import positive_data_acceptance
from schemathesis.generation import GenerationMode

from alpaca_lora.config import ModelConfig
from alpaca_lora.inference.models import Models
from alpaca_lora.inference.settings import AdaptersConfig, QueueConfig
from alpaca_lora.inference.torch_engine import TorchEngine

KEY = "sesame"
EXAMPLES = 20
OPERATIONS = [
    "GET /health", "GET /metrics", "GET /v1/models", "GET /v1/models/{model}", "POST /v1/chat/completions",
    "POST /v1/completions",
]  # fmt: skip


@pytest.fixture(scope="module")
def url(serve: Any, adapters: Sequence[Path]) -> Generator[str]:
    models = Models(
        ModelConfig(base_model="alpaca-tiny", dtype="float32", device="cpu"),
        AdaptersConfig(adapter=tuple(map(str, adapters))),
    )
    with serve(models, TorchEngine(models, QueueConfig()), KEY, max_answer_tokens=3, default_answer_tokens=2) as served:
        yield served.url


@pytest.fixture(scope="module")
def described(url: str) -> Any:
    return schemathesis.openapi.from_url(f"{url}/openapi.json", headers={"Authorization": f"Bearer {KEY}"})


@pytest.mark.parametrize(
    ("operation", "mode"),
    [
        (operation, mode)
        for operation in OPERATIONS
        for mode in GenerationMode
        if (operation, mode) != ("GET /health", GenerationMode.NEGATIVE)  # it takes nothing that could be wrong
    ],
)
def test_requests_made_from_the_description(operation: str, mode: GenerationMode, described: Any) -> None:
    found = described.find_operation_by_label(operation)

    @hypothesis.settings(max_examples=EXAMPLES, derandomize=True, deadline=None, database=None)
    @hypothesis.given(found.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        if isinstance(case.body, dict) and mode is GenerationMode.POSITIVE:
            case.body["model"] = "first"  # any other comes no further than to 404
        # Which conversations are taken, a schema cannot say.
        case.call_and_validate(headers={"Authorization": f"Bearer {KEY}"}, excluded_checks=[positive_data_acceptance])

    ask()


def test_errors_are_described(described: Any) -> None:
    paths = described.raw_schema["paths"]
    assert set(paths["/v1/chat/completions"]["post"]["responses"]) == {
        "200", "400", "401", "404", "413", "429", "500", "503",
    }  # fmt: skip
    assert set(paths["/health"]["get"]["responses"]) == {"200"}
    assert paths["/v1/models"]["get"]["security"]
    assert "security" not in paths["/health"]["get"]
