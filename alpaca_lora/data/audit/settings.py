"""The settings of `data check`, `data clean` and `data diff`, made as those in `config`."""

from __future__ import annotations

from dataclasses import dataclass

from alpaca_lora.config import RowShape
from alpaca_lora.options import Whole, flat, require


@flat
@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """Everything `data check` needs."""

    data_path: str = ""
    """What to check, where it is not given as the first word: a file, a data set's Hub id, or `sample`."""
    data_shape: RowShape = "auto"
    """How rows are laid out; `auto` looks for the first row of a known shape."""
    json: str = ""
    """File to write every finding to, with its row, reason, confidence and fix."""
    only: tuple[str, ...] = ()
    """Rules to run, by their ids; none: all that are on by default."""
    skip: tuple[str, ...] = ()
    """Rules to leave out, by their ids."""
    rules: str = ""
    """Python file with rules of your own, in a list named RULES. It is run: use only a file that you trust."""
    against: tuple[str, ...] = ()
    """Validation files of which no row may stand among those checked, nor one that asks the same."""
    max_defects: Whole | None = None
    """Fail with exit code 2 when more rows than this have a defect; unset: never."""

    def __post_init__(self) -> None:
        require(self, max_defects=(self.max_defects is None or self.max_defects >= 0, "of at least 0"))


@flat
@dataclass(frozen=True, kw_only=True)
class CleanConfig:
    """Everything `data clean` needs."""

    data_path: str = ""
    """What to clean, where it is not given as the first word: a JSON or JSONL file, or `sample`."""
    data_shape: RowShape = "auto"
    """How rows are laid out; `auto` looks for the first row of a known shape."""
    output: str = ""
    """File to write the clean rows to; every change is logged beside it, in OUTPUT.changes.jsonl."""
    undo: str = ""
    """A log of changes; the file from before them is written to --output, byte for byte."""
    marks: str = ""
    """Your marks, as `data review` writes them: they come before all rules; with --only marked-by-hand, alone."""
    drop_low_value: bool = False
    """Drop the rows marked as low value, which stay otherwise and are only logged."""
    only: tuple[str, ...] = ()
    """Rules to apply, by their ids; none: all that are on by default, and rows that cannot be read are dropped."""
    skip: tuple[str, ...] = ()
    """Rules to leave out, by their ids."""
    rules: str = ""
    """Python file with rules of your own, in a list named RULES. It is run: use only a file that you trust."""
    against: tuple[str, ...] = ()
    """Validation files of which no row may stand among those that stay, nor one that asks the same."""


@flat
@dataclass(frozen=True, kw_only=True)
class DiffConfig:
    """Everything `data diff` needs."""

    json: str = ""
    """File to write every row added, removed or changed to."""
    show: Whole = 5
    """How many changed rows to print, words marked."""

    def __post_init__(self) -> None:
        require(self, show=(self.show >= 0, "of at least 0"))


@flat
@dataclass(frozen=True, kw_only=True)
class RankConfig:
    """Everything `data rank` needs."""

    data_path: str = ""
    """What to rank, where it is not given as the first word: a file, a data set's Hub id, or `sample`."""
    data_shape: RowShape = "auto"
    """How rows are laid out; `auto` looks for the first row of a known shape."""
    marks: str = ""
    """A file of your marks, as `data review` writes it, to learn from; unset or too few: the bundled ones."""
    top: Whole = 20
    """How many rows to print, the most suspicious first."""
    json: str = ""
    """File to write every row's scores to, the most suspicious first, with what speaks for them."""
    only: tuple[str, ...] = ()
    """Rules to run, by their ids; none: all that are on by default."""
    skip: tuple[str, ...] = ()
    """Rules to leave out, by their ids."""
    rules: str = ""
    """Python file with rules of your own, in a list named RULES. It is run: use only a file that you trust."""

    def __post_init__(self) -> None:
        require(self, top=(self.top >= 0, "of at least 0"))
