"""The verbs of `alpaca-lora data`: each is a settings class and a function."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from cyclopts import App

from alpaca_lora.config import PreviewConfig
from alpaca_lora.data.atlas.settings import MapConfig
from alpaca_lora.data.audit.settings import CheckConfig, CleanConfig, DiffConfig, RankConfig
from alpaca_lora.data.review.settings import ReviewConfig
from alpaca_lora.data.settings import DownloadConfig, EnrichConfig, LengthsConfig

_PREVIEW, _CHECK, _CLEAN, _DIFF = PreviewConfig(), CheckConfig(), CleanConfig(), DiffConfig()
_LENGTHS, _DOWNLOAD, _ENRICH = LengthsConfig(), DownloadConfig(), EnrichConfig()
_REVIEW = ReviewConfig()
_MAP = MapConfig()
_RANK = RankConfig()
DATA_SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        "data preview": _PREVIEW,
        "data check": _CHECK,
        "data review": _REVIEW,
        "data clean": _CLEAN,
        "data diff": _DIFF,
        "data lengths": _LENGTHS,
        "data download": _DOWNLOAD,
        "data enrich": _ENRICH,
        "data rank": _RANK,
        "data map": _MAP,
    }
)

data_app = App(name="data", help="Look at instruction data, and mend it.")


@data_app.command
def preview(config: PreviewConfig = _PREVIEW) -> None:
    """Show rows with their trained tokens coloured, and what became of all rows."""
    from alpaca_lora.training.prepare import preview as run

    run(config)


@data_app.command
def check(path: str = "", /, config: CheckConfig = _CHECK) -> None:
    """Find the flaws of a data file: every row with its reason, and how it could be mended."""
    from alpaca_lora.data.audit.check import check as run

    run(path, config)


@data_app.command
def review(path: str = "", /, config: ReviewConfig = _REVIEW) -> None:
    """Show a data file's map with buttons to mark rows; `data clean` heeds the marks."""
    from alpaca_lora.data.review.run import review as run

    run(path, config)


@data_app.command
def clean(path: str = "", /, config: CleanConfig = _CLEAN) -> None:
    """Mend a data file's flaws or drop their rows, into --output; a log tells every change and can --undo them."""
    from alpaca_lora.data.audit.clean import clean as run

    run(path, config)


@data_app.command
def diff(old: str, new: str, /, config: DiffConfig = _DIFF) -> None:
    """Tell which rows of one data file another has, lacks or has changed, wherever they stand."""
    from alpaca_lora.data.audit.diff import diff as run

    run(old, new, config)


@data_app.command
def lengths(config: LengthsConfig = _LENGTHS) -> None:
    """Tell how long rows are in tokens, and what padding, packs and hours that costs."""
    from alpaca_lora.data.lengths import lengths as run

    run(config)


@data_app.command
def download(name: str = "", /, config: DownloadConfig = _DOWNLOAD) -> None:
    """Fetch a published data set, its licence shown first; without a name: list them."""
    from alpaca_lora.data.download import download as run

    run(name, config)


@data_app.command
def enrich(subset: str, /, config: EnrichConfig = _ENRICH) -> None:
    """Tell how much more of each flaw a chosen subset holds than the whole."""
    from alpaca_lora.data.audit.enrich import enrich as run

    run(subset, config)


@data_app.command(name="map")
def draw_map(path: str = "", /, config: MapConfig = _MAP) -> None:
    """Draw all rows into one HTML page: alike rows together, flaws coloured, each row to read."""
    from alpaca_lora.data.atlas.run import draw_map as run

    run(path, config)


@data_app.command
def rank(path: str = "", /, config: RankConfig = _RANK) -> None:
    """Order rows by how likely each is a defect, or of low value: the first ones are worth a person's look."""
    from alpaca_lora.data.audit.rank import rank_file as run

    run(path, config)
