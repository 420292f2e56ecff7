"""The settings of `data check`, made as those in `config`."""

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
    max_defects: Whole | None = None
    """Fail with exit code 2 when more rows than this have a defect; unset: never."""

    def __post_init__(self) -> None:
        require(self, max_defects=(self.max_defects is None or self.max_defects >= 0, "of at least 0"))
