"""Tokenizers and rows that the data tests share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_tokenizers import llama3_style, llama_style
from transformers import PreTrainedTokenizerFast

from alpaca_lora.data.examples import Example, read_examples
from alpaca_lora.model.tokenizer import load_tokenizer

_SHARED = Path(__file__).parents[3] / "shared"
LLAMA_MODEL = _SHARED / "tokenizer" / "llama2_tokenizer.model"
STANFORD_ROWS = _SHARED / "data" / "alpaca_data.json"


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    return llama_style(tmp_path_factory.mktemp("llama-style"))


@pytest.fixture(scope="session")
def llama3() -> PreTrainedTokenizerFast:
    return llama3_style()


@pytest.fixture(params=["llama", "llama3"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    """Each kind in turn. Shared by all tests: do not change it."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def real_llama(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    """LLaMA's own tokenizer, where the folder of measuring data lies beside the repository."""
    if not LLAMA_MODEL.is_file():
        pytest.skip("../shared is not here")
    folder = tmp_path_factory.mktemp("llama")
    shutil.copy(LLAMA_MODEL, folder / "tokenizer.model")
    return load_tokenizer(folder)[0]


@pytest.fixture(scope="session")
def real_rows() -> list[Example]:
    """The Stanford rows, where the folder of measuring data lies beside the repository."""
    if not STANFORD_ROWS.is_file():
        pytest.skip("../shared is not here")
    return read_examples(str(STANFORD_ROWS)).examples
