"""Data sets of instructions that others published: where they lie, how large they are, what their licence allows.

Rows are as their publishers say; a checksum stands here only where the bytes themselves were seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType

from alpaca_lora.errors import UserError


@dataclass(frozen=True)
class KnownSet:
    """One published data set.

    Attributes:
        file: name under which it is saved.
        rows: how many, in the publisher's words.
        licence: as its publisher states it; `non_commercial`: it forbids commercial use, or allows research only.
        sha256, size: of the published bytes, size in bytes; "" and 0 where not known.
        columns: columns that get another name, so that the rows have Alpaca's shape.
    """

    name: str
    about: str
    url: str
    file: str
    rows: str
    licence: str
    non_commercial: bool
    sha256: str = ""
    size: int = 0
    columns: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


_GITHUB, _HUB = "https://raw.githubusercontent.com", "https://huggingface.co/datasets"
_GPT4 = f"{_GITHUB}/Instruction-Tuning-with-GPT-4/GPT-4-LLM/main/data"
KNOWN_SETS: tuple[KnownSet, ...] = (
    KnownSet(
        "alpaca",
        "Stanford's original, answers by text-davinci-003",
        f"{_GITHUB}/tatsu-lab/stanford_alpaca/main/alpaca_data.json",
        "alpaca_data.json",
        "52,002",
        "CC BY-NC 4.0",
        non_commercial=True,
        sha256="2eddafc6b977608d778aaab8dfc7e50e547b3af9826dfb9e909d9fc362e4a419",
        size=22_773_992,
    ),
    KnownSet(
        "alpaca-cleaned",
        "the original as cleaned by its users, many answers by GPT-4",
        f"{_HUB}/yahma/alpaca-cleaned/resolve/main/alpaca_data_cleaned.json",
        "alpaca_data_cleaned.json",
        "about 52,000",
        "CC BY-NC 4.0 by its repository (the card on the Hub has said CC BY 4.0, too)",
        non_commercial=True,
    ),
    KnownSet(
        "alpaca-cleaned-github",
        "the same from the repository of its makers, which may be newer",
        f"{_GITHUB}/gururise/AlpacaDataCleaned/main/alpaca_data_cleaned.json",
        "alpaca_data_cleaned.json",
        "about 52,000",
        "CC BY-NC 4.0",
        non_commercial=True,
    ),
    KnownSet(
        "alpaca-gpt4",
        "the original's questions, answers by GPT-4",
        f"{_GPT4}/alpaca_gpt4_data.json",
        "alpaca_gpt4_data.json",
        "about 52,000",
        "CC BY-NC 4.0, for research only",
        non_commercial=True,
    ),
    KnownSet(
        "alpaca-gpt4-zh",
        "Chinese: the questions translated by ChatGPT, answers by GPT-4",
        f"{_GPT4}/alpaca_gpt4_data_zh.json",
        "alpaca_gpt4_data_zh.json",
        "about 52,000",
        "CC BY-NC 4.0, for research only",
        non_commercial=True,
    ),
    KnownSet(
        "alpaca-zh",
        "Chinese: questions and answers by ChatGPT, of Chinese-LLaMA-Alpaca",
        f"{_GITHUB}/ymcui/Chinese-LLaMA-Alpaca/main/data/alpaca_data_zh_51k.json",
        "alpaca_data_zh_51k.json",
        "about 51,000",
        "none stated for the data; its project says for academic research only",
        non_commercial=True,
    ),
    KnownSet(
        "dolly",
        "databricks-dolly-15k, written by people; saved in Alpaca's shape",
        f"{_HUB}/databricks/databricks-dolly-15k/resolve/main/databricks-dolly-15k.jsonl",
        "databricks_dolly_15k.json",
        "over 15,000",
        "CC BY-SA 3.0",
        non_commercial=False,
        columns=MappingProxyType({"context": "input", "response": "output"}),
    ),
)


def find_set(name: str) -> KnownSet:
    """Give a data set by its name; raise `UserError` with the nearest name for one that is not known."""
    names = [known.name for known in KNOWN_SETS]
    if name not in names:
        near = get_close_matches(name, names, n=1)
        raise UserError(
            f"no known data set is called {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
            fix=f"the names are {', '.join(names)}; others from the Hub: --data_path OWNER/NAME",
        )
    return KNOWN_SETS[names.index(name)]


def describe_set(known: KnownSet) -> list[str]:
    """Say what a data set is, how large, and what its licence allows."""
    terms = known.licence + (". Not for commercial use" if known.non_commercial else "")
    size = f", {known.size / 1e6:.1f} MB" if known.size else ""
    return [
        f"data    {known.name}: {known.about}",
        f"rows    {known.rows}{size}",
        f"from    {known.url}",
        f"licence {terms}",
        f"sha256  {known.sha256 or 'not known, so the bytes cannot be checked'}",
    ]
