"""Files of results: whether one can be written, before the work for it is done, and writing it whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from alpaca_lora.errors import UserError


def check_output(path: str, flag: str, *sources: str) -> Path:
    """Give the place of a result; raise `UserError`, before any work, where it cannot be written or is a source."""
    target = Path(path).expanduser()
    try:
        for source in filter(None, sources):
            if same_file(target, Path(source).expanduser()):
                raise UserError(f"{flag} {path} would overwrite {source}", fix=f"give {flag} another file")
        if target.is_dir() or path.endswith(("/", os.sep)):
            raise OSError(errno.EISDIR, "it is a folder")
        if not target.parent.is_dir():
            raise OSError(errno.ENOENT, f"there is no folder {target.parent}")
        if target.exists() and not target.is_file():
            raise OSError(errno.EINVAL, "it is no plain file")
        with TemporaryFile(dir=_behind_links(target).parent):  # the one test that knows every kind of disk
            return target
    except OSError as error:
        raise UserError(
            f"{flag} {path} cannot be written: {error.strerror}", fix=f"give {flag} another place"
        ) from error


def write_whole(files: Mapping[Path, bytes], flag: str = "--output") -> None:
    """Write files that appear under their names, in this order, only when all are whole and on the disk.

    Each has the permissions of the file it replaces, or those of any new one. Raises `UserError`, which names `flag`.
    """
    targets = {path: _behind_links(path) for path in files}
    partials = {path: target.parent / f".{secrets.token_hex(8)}.partial" for path, target in targets.items()}
    path = Path()
    try:
        for path, content in files.items():
            with partials[path].open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if targets[path].exists():
                shutil.copymode(targets[path], partials[path])
        for path, target in targets.items():
            partials[path].replace(target)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}", fix=f"give {flag} another place") from error
    finally:
        for partial in partials.values():
            with suppress(OSError):
                partial.unlink()


def same_file(path: Path, other: Path) -> bool:
    """Say whether two paths lead to one file, through links too."""
    return _behind_links(path) == _behind_links(other) or (path.exists() and other.exists() and path.samefile(other))


def as_json(value: Any, indent: int | None = None) -> bytes:
    """Write a value as JSON for people to read; half a character, which UTF-8 cannot hold, has all of it escaped."""
    try:
        return json.dumps(value, ensure_ascii=False, indent=indent).encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent).encode()


def _behind_links(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve raises where links go round in a circle
