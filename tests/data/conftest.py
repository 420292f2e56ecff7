"""The two kinds of tokenizers that the data tests run with."""

from __future__ import annotations

import pytest
from small_tokenizers import llama3_style, llama_style
from transformers import PreTrainedTokenizerFast


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
