"""The settings of `data lengths`, `data download` and `data enrich`, made as those in `config`."""

from __future__ import annotations

from dataclasses import dataclass, field

from alpaca_lora.config import BaseConfig, DataConfig, RowShape
from alpaca_lora.options import Whole, flat, require


@flat
@dataclass(frozen=True, kw_only=True)
class LengthsConfig:
    """Everything `data lengths` needs."""

    data: DataConfig = field(default_factory=DataConfig)
    model: BaseConfig = field(default_factory=BaseConfig)
    batch_size: Whole = 32
    """Rows of an optimiser step, at least 1: only rows of one step share a pack."""
    tokens_per_pack: Whole = 2048
    """Tokens computed at once with packing, at least 64."""
    seed: Whole = 42
    """Order of the rows."""
    num_epochs: float = 3.0
    """Passes over the data that the hours are for, above 0."""
    tokens_per_second: float | None = None
    """Speed as measured, in real tokens (`tokens_per_second` in a run's log.jsonl), above 0; unset: no hours."""
    picture: str = "lengths.png"
    """File for the histogram, a PNG; an empty word for none."""

    def __post_init__(self) -> None:
        speed = self.tokens_per_second
        require(
            self,
            batch_size=(self.batch_size >= 1, "of at least 1"),
            tokens_per_pack=(self.tokens_per_pack >= 64, "of at least 64 tokens"),
            seed=(self.seed >= 0, "of at least 0"),
            num_epochs=(self.num_epochs > 0, "above 0"),
            tokens_per_second=(speed is None or speed > 0, "above 0"),
        )


@flat
@dataclass(frozen=True, kw_only=True)
class DownloadConfig:
    """Everything `data download` needs."""

    output: str = ""
    """File or folder to write to; unset: the data set's own file name, in this folder."""
    url: str = ""
    """Take the file from here, such as a mirror; a known checksum must hold there, too. Unset: its publisher."""
    attempts: Whole = 5
    """Failures in a row without a further byte, at least 1, after which it stops; it can go on later."""

    def __post_init__(self) -> None:
        require(self, attempts=(self.attempts >= 1, "of at least 1"))


@flat
@dataclass(frozen=True, kw_only=True)
class EnrichConfig:
    """Everything `data enrich` needs."""

    of: str = ""
    """The whole that the subset was chosen from: a file, a data set's Hub id, or `sample`."""
    data_shape: RowShape = "auto"
    """How rows are laid out; `auto` looks for the first row of a known shape."""
    only: tuple[str, ...] = ()
    """Rules to run, by their ids; none: all that are on by default."""
    skip: tuple[str, ...] = ()
    """Rules to leave out, by their ids."""
    rules: str = ""
    """Python file with rules of your own, in a list named RULES. It is run: use only a file that you trust."""
