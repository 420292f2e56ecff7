"""The settings of `data map`, and those of a picture, which `data review` has too; made as those in `config`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from alpaca_lora.config import RowShape
from alpaca_lora.options import Whole, flat, require

Of = Literal["both", "instructions", "outputs"]
TF_IDF = "tf-idf"
SENTENCE_TRANSFORMERS = "sentence-transformers:"


@flat
@dataclass(frozen=True, kw_only=True)
class PictureConfig:
    """Where rows stand on a map, how they are told apart, and what is looked for in them."""

    of: Of = "both"
    """Which texts bring rows together: instructions with their inputs, outputs, or both."""
    embedder: str = TF_IDF
    """`tf-idf` needs no model; `sentence-transformers:NAME` takes a model of that library, by its Hub id or folder."""
    clusters: Whole | None = None
    """Most clusters to tell apart, 1 to 1,000; unset: a third of the square root of the rows, 76 for 52,002."""
    seed: Whole = 0
    """Same rows and same seed, same picture."""
    only: tuple[str, ...] = ()
    """Rules to run, by their ids; none: all that are on by default."""
    skip: tuple[str, ...] = ()
    """Rules to leave out, by their ids."""
    rules: str = ""
    """Python file with rules of your own, in a list named RULES. It is run: use only a file that you trust."""

    def __post_init__(self) -> None:
        model = self.embedder.removeprefix(SENTENCE_TRANSFORMERS)
        known = self.embedder == TF_IDF or (model != self.embedder and bool(model))
        require(
            self,
            embedder=(known, f"of {TF_IDF} or {SENTENCE_TRANSFORMERS}NAME"),
            clusters=(self.clusters is None or 1 <= self.clusters <= 1000, "of 1 to 1,000"),
            seed=(0 <= self.seed < 2**32, "of 0 to 4,294,967,295"),
        )


@flat
@dataclass(frozen=True, kw_only=True)
class MapConfig:
    """Everything `data map` needs."""

    data_path: str = ""
    """What to draw, where it is not given as the first word: a file, a data set's Hub id, or `sample`."""
    data_shape: RowShape = "auto"
    """How rows are laid out; `auto` looks for the first row of a known shape."""
    output: str = "map.html"
    """File for the page; it needs nothing else, and no network."""
    picture: PictureConfig = field(default_factory=PictureConfig)
    marks: str = ""
    """A file of your marks, as `data review` writes it, to learn from what is suspicious; unset: the bundled ones."""

    def __post_init__(self) -> None:
        require(self, output=(bool(self.output), "that names a file"))
