"""Files of arrays that spare the next run some work: absent, damaged or unwritable, they cost only its time."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def cache_folder() -> Path:
    """Give the folder of the token cache: `$ALPACA_LORA_CACHE`, else `alpaca-lora` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("ALPACA_LORA_CACHE") or f"{base}/alpaca-lora").expanduser() / "tokens"


def cache_file(folder: Path, key: Sequence[object]) -> Path:
    """Give the file of a key: whatever decides the arrays in it, as plain values."""
    return folder / f"{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]}.npz"


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]] | None:
    """Read arrays; None where the file is absent, damaged, or written by another version."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names}
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def write_arrays(path: Path, *, keep: int, **arrays: Any) -> None:
    """Write arrays atomically and leave only the newest `keep` files of the folder, where it can be written to."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(temporary, **arrays)
        temporary.replace(path)
        newest_first = sorted(path.parent.glob("[!.]*.npz"), key=lambda file: file.stat().st_mtime, reverse=True)
        for old in newest_first[keep:]:
            old.unlink(missing_ok=True)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
