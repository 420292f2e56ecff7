"""`data download`: fetch a published data set so that a file under its name is whole and, where known, the right one.

Bytes arrive in a hidden partial file beside it. The next attempt, or the next run, goes on behind them if the server
says by its ETag that the file is still the same.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table as Grid

from alpaca_lora.data.files import open_rows
from alpaca_lora.data.registry import KNOWN_SETS, KnownSet, describe_set, find_set
from alpaca_lora.data.settings import DownloadConfig
from alpaca_lora.errors import UserError

_BLOCK = 1 << 16
_TIMEOUT_SECONDS = 30
_WORTH_ANOTHER_TRY = (408, 429, 500, 502, 503, 504)


def download(name: str, config: DownloadConfig, *, pause: Callable[[float], None] = time.sleep) -> None:
    """Show a data set's licence, fetch it, check it; without a name list all known ones.

    Args:
        pause: waits for seconds between attempts.
    """
    console = Console()
    if not name:
        _print_known(console)
        return
    known = find_set(name)
    known = replace(known, url=config.url or known.url)
    target = _target(known, config.output)
    _print(console, *describe_set(known))
    if target.exists():
        if known.sha256 and _sha256(target) == known.sha256:
            _print(console, f"here    {target} is here already, with the known sha256")
            return
        raise UserError(
            f"{target} exists already", why="nothing was downloaded", fix="delete it or give --output another place"
        )
    transfer = Transfer(known.url, target, config.attempts, pause)
    transfer.run()
    _refuse_wrong(known, transfer)
    checked = "its sha256 is the known one" if known.sha256 else f"not checked; sha256 {_sha256(transfer.partial)}"
    n_rows = _save(known, transfer)
    _print(console, f"saved   {target}: {n_rows:,} rows; {checked}")


def _print_known(console: Console) -> None:
    grid = Grid(title="alpaca-lora data download NAME", title_justify="left")
    for column in ("name", "what", "rows", "licence"):
        grid.add_column(column, no_wrap=column == "name")
    for known in KNOWN_SETS:
        terms = f"{known.licence} (not commercial)" if known.non_commercial else known.licence
        grid.add_row(known.name, known.about, known.rows, terms)
    console.print(grid)


def _print(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _target(known: KnownSet, output: str) -> Path:
    path = Path(output or known.file).expanduser()
    path = path / known.file if path.is_dir() else path
    if not path.parent.is_dir():
        raise UserError(f"the folder {path.parent} does not exist", fix="make it, or give --output another place")
    return path


@dataclass
class Transfer:
    """Brings the bytes of a URL into a partial file beside the target, however often the connection breaks."""

    url: str
    target: Path
    attempts: int
    pause: Callable[[float], None]

    @property
    def partial(self) -> Path:
        """Give the file that grows; `origin` beside it says what it is a part of."""
        return self.target.with_name(f".{self.target.name}.partial")

    @property
    def origin(self) -> Path:
        """Give the file with the URL and the ETag of the part."""
        return self.target.with_name(f".{self.target.name}.partial.json")

    @property
    def have(self) -> int:
        """Count the bytes that are here."""
        return self.partial.stat().st_size if self.partial.exists() else 0

    def run(self) -> None:
        """Fetch until all is here; raise `UserError` when it cannot be reached or breaks off too often."""
        if not self.url.startswith(("https://", "http://")):
            raise UserError(f"{self.url} is no web address", fix="give --url one that begins with https://")
        failures, most, answered = 0, self.have, False
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        console = Console(stderr=True)
        with Progress(
            *columns, TimeRemainingColumn(), console=console, transient=True, disable=not sys.stderr.isatty()
        ) as bar:
            task = bar.add_task(self.target.name, total=None)
            while True:
                try:
                    self._attempt(lambda have, size: bar.update(task, completed=have, total=size))
                    return
                except _Broken as broken:
                    answered |= broken.answered
                    failures = 1 if self.have > most else failures + 1
                    most = max(most, self.have)
                    if failures >= self.attempts or not answered:
                        raise self._gave_up(str(broken), answered=answered) from broken
                    self.pause(2.0 ** (failures - 1))

    def discard(self) -> None:
        """Forget what is here."""
        self.partial.unlink(missing_ok=True)
        self.origin.unlink(missing_ok=True)

    def _attempt(self, tell: Callable[[int, int | None], None]) -> None:
        """Fetch what is missing; raise `_Broken` where the connection ends before the file does."""
        response = self._open()
        if response is None:
            return
        with response:
            start = self._agreed_start(response)
            announced = response.headers.get("Content-Length")
            size = start + int(announced) if announced and announced.isdigit() else None
            try:
                with self.partial.open("ab" if start else "wb") as file:
                    while block := _read(response):
                        file.write(block)
                        tell(file.tell(), size)
            except OSError as error:
                raise UserError(f"the file cannot be written: {error.strerror}", where=str(self.partial)) from error
        if size is not None and self.have < size:
            raise _Broken(f"the connection broke after {self.have:,} of {size:,} bytes", answered=True)

    def _open(self) -> Any:
        """Ask for what is missing; give the answer, or None where nothing is."""
        headers = {"User-Agent": "alpaca-lora", "Accept-Encoding": "identity"}
        etag = self._known_etag()
        if etag:
            headers |= {"Range": f"bytes={self.have}-", "If-Range": etag}
        try:
            return urllib.request.urlopen(urllib.request.Request(self.url, headers=headers), timeout=_TIMEOUT_SECONDS)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # there is nothing behind what is here
                if (error.headers.get("Content-Range") or "").endswith(f"*/{self.have}"):
                    return None
                self.discard()
            elif error.code not in _WORTH_ANOTHER_TRY:
                raise UserError(
                    f"the server answers {error.code} {error.reason}",
                    where=self.url,
                    fix="the file may have moved; give --url an address that has it",
                ) from error
            raise _Broken(f"the server answers {error.code} {error.reason}", answered=True) from error
        except urllib.error.URLError as error:
            raise _Broken(str(error.reason), answered=False) from error
        except (OSError, http.client.HTTPException) as error:
            raise _Broken(str(error) or type(error).__name__, answered=True) from error

    def _known_etag(self) -> str:
        """Give the ETag of the part that is here; "" where it cannot be gone on with."""
        if not self.have:
            return ""
        try:
            origin = json.loads(self.origin.read_text(encoding="utf-8"))
            return str(origin["etag"]) if origin["url"] == self.url else ""
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def _agreed_start(self, response: Any) -> int:
        """Give the byte at which the answer begins: behind what is here if it is a part of the same file, else 0."""
        etag = response.headers.get("ETag") or ""
        if response.status == 206:
            span = re.match(r"bytes (\d+)-", response.headers.get("Content-Range") or "")
            if span and int(span[1]) == self.have and etag in ("", self._known_etag()):
                return self.have
            self.discard()
            raise _Broken("the server sent another part than the one asked for", answered=True)
        strong = "" if etag.startswith("W/") else etag  # a weak ETag does not promise equal bytes
        self.origin.write_text(json.dumps({"url": self.url, "etag": strong}), encoding="utf-8")
        return 0

    def _gave_up(self, reason: str, *, answered: bool) -> UserError:
        if not answered:
            return UserError(
                f"the server cannot be reached: {reason}",
                where=self.url,
                why="this machine is offline, or a proxy or certificate is missing (HTTPS_PROXY, SSL_CERT_FILE)",
                fix="try again when it is online, or give --url a mirror; --data_path sample needs no network",
            )
        return UserError(
            f"the download failed {self.attempts} times in a row: {reason}",
            where=self.url,
            why=f"{self.have:,} bytes are here and kept",
            fix="run the same command again: it goes on where the server allows it",
        )


class _Broken(Exception):
    """An attempt failed and another may not; `answered`: the server could be reached."""

    def __init__(self, reason: str, *, answered: bool) -> None:
        super().__init__(reason)
        self.answered = answered


def _read(response: Any) -> bytes:
    try:
        return response.read(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(f"the connection broke: {error or type(error).__name__}", answered=True) from error


def _refuse_wrong(known: KnownSet, transfer: Transfer) -> None:
    if known.size and transfer.have != known.size:
        raise _refusal(transfer, f"it has {transfer.have:,} bytes instead of {known.size:,}")
    if known.sha256 and (found := _sha256(transfer.partial)) != known.sha256:
        raise _refusal(transfer, f"its sha256 is {found} instead of {known.sha256}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refusal(transfer: Transfer, why: str) -> UserError:
    """Keep the wrong bytes aside, so that they can be looked at and the next run begins anew."""
    aside = transfer.target.with_name(f"{transfer.target.name}.refused")
    transfer.partial.replace(aside)
    transfer.discard()
    return UserError(
        "what arrived is not the data set; it is refused",
        where=transfer.url,
        why=why,
        fix=f"look into {aside}; run the command again, or give --url another source",
    )


def _save(known: KnownSet, transfer: Transfer) -> int:
    """Check that the rows can be read, put the file under its name, and count its rows."""
    readable = transfer.partial.with_suffix(Path(transfer.url.partition("?")[0]).suffix or transfer.target.suffix)
    transfer.partial.replace(readable)  # the ending decides how a file is read
    try:
        rows = open_rows(str(readable)).rows
    except UserError as error:
        readable.replace(transfer.partial)
        raise _refusal(transfer, f"its rows cannot be read: {error.what}") from error
    if any(not isinstance(row, dict) for row in rows):
        readable.replace(transfer.partial)
        raise _refusal(transfer, "some of its rows cannot be read")
    if known.columns:
        rows = [{known.columns.get(key, key): value for key, value in row.items()} for row in rows]
        readable.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    readable.replace(transfer.target)
    transfer.discard()
    return len(rows)
