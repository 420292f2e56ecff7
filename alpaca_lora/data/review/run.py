"""The verb `data review`: the map, served to this machine's browser until Ctrl-C."""

from __future__ import annotations

import shlex
import socket
import threading
import webbrowser
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alpaca_lora.data.atlas.settings import PictureConfig
from alpaca_lora.data.audit.marks import Mark, keep_marks, load_marks, marks_path, verdicts_of
from alpaca_lora.data.audit.rows import Table, is_json_text, one_path, read_rows
from alpaca_lora.data.audit.rules import counted
from alpaca_lora.data.audit.writing import as_json
from alpaca_lora.data.review.settings import ReviewConfig
from alpaca_lora.errors import UserError
from alpaca_lora.inference.serve.run import listen

if TYPE_CHECKING:
    import uvicorn

    from alpaca_lora.data.review.app import Review

_NO_MARKS = '"marks": {}'


def review(path: str, config: ReviewConfig) -> None:
    """Show a data set's map with buttons to mark rows, until Ctrl-C; every mark is on the disk when the page shows it.

    Raises `UserError` before the map is built where packages are missing, the port is taken, or marks cannot be kept.
    """
    data_path = one_path(path, config.data_path, "review")
    if any(find_spec(name) is None for name in ("fastapi", "uvicorn")):
        raise UserError("review needs packages that are not installed", fix="pip install 'alpaca-lora[serve]'")
    from alpaca_lora.data.review.app import Review

    table = read_rows(data_path, config.data_shape)
    marks = Path(config.marks).expanduser() if config.marks else marks_path(data_path)
    with keep_marks(marks), listen(config.host, config.port) as listener:
        held = load_marks(marks, table) if marks.exists() else {}
        shown = Review(table, marks, _page(table, config.picture, held))
        _announce(listener, config)
        try:
            server(shown).run([listener])
        except KeyboardInterrupt:  # the way to end it
            _last_words(shown, data_path)


def _page(table: Table, picture: PictureConfig, held: Mapping[int, Mark]) -> Callable[[Mapping[str, Any]], str]:
    """Draw the map and write its page, once; give what puts the marks of the moment into it."""
    from alpaca_lora.data.atlas.build import build_map
    from alpaca_lora.data.atlas.page import page_html

    drawn = build_map(table, picture, verdicts_of(held) or None)
    before, after = page_html(drawn, served=True, marks={}).split(_NO_MARKS, 1)

    def page(marks: Mapping[str, Any]) -> str:
        return before + as_json({"marks": marks}).decode().replace("<", "\\u003c")[1:-1] + after

    return page


def server(review: Review) -> uvicorn.Server:
    """Give the server of a review, which runs on a socket that listens already."""
    import uvicorn

    from alpaca_lora.data.review.app import create_app

    return uvicorn.Server(
        uvicorn.Config(
            create_app(review), log_config=None, log_level="warning", access_log=False, lifespan="off", ws="none",
            server_header=False, timeout_graceful_shutdown=3,
        )
    )  # fmt: skip


def _announce(listener: socket.socket, config: ReviewConfig) -> None:
    host = f"[{config.host}]" if ":" in config.host else config.host
    address = f"http://{host}:{listener.getsockname()[1]}/"
    print(f"review  {address}")
    print("        only this machine can open it; Ctrl-C ends it", flush=True)
    if config.open_browser:  # a browser of the terminal would hold up the server until it is left
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


def _last_words(review: Review, data_path: str) -> None:
    marked = len(review.marks())
    if not marked:
        print("no row is marked")
        return
    data, marks = shlex.quote(data_path), shlex.quote(str(review.path))
    print(f"marks   {counted(marked, 'row')} {'is' if marked == 1 else 'are'} marked, in {review.path}")
    if not is_json_text(review.table.name):
        print("next    save the rows, in the same order, as ROWS.json: cleaning edits a file's text")
        data = "ROWS.json"
    print(f"next    alpaca-lora data clean {data} --marks {marks} --output CLEANED.json")
