"""The settings of `data review`, made as those in `config`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from alpaca_lora.config import RowShape
from alpaca_lora.data.atlas.settings import PictureConfig
from alpaca_lora.options import Whole, flat, require


@flat
@dataclass(frozen=True, kw_only=True)
class ReviewConfig:
    """Everything `data review` needs."""

    data_path: str = ""
    """What to review, where it is not given as the first word: a file, a data set's Hub id, or `sample`."""
    data_shape: RowShape = "auto"
    """How rows are laid out; `auto` looks for the first row of a known shape."""
    picture: PictureConfig = field(default_factory=PictureConfig)
    marks: str = ""
    """File that your marks are added to, and read from when you go on; unset: DATA.marks.jsonl, beside the data."""
    host: Literal["127.0.0.1", "localhost", "::1"] = "127.0.0.1"
    """Address of this machine to serve the page at; no other machine can open it."""
    port: Whole = 7861
    """Port; 0 takes a free one."""
    open_browser: bool = False
    """Open the page in the browser when it is ready."""

    def __post_init__(self) -> None:
        require(self, port=(0 <= self.port < 65536, "from 0 to 65535"))
