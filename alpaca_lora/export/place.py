"""Where an export ends up: whole under its own name, under a name that says it differs, or nowhere."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from alpaca_lora.errors import UserError
from alpaca_lora.export.disk import ended_by_disk
from alpaca_lora.export.report import RECORD

_GB = 10**9


class DiffersError(Exception):
    """The export was reloaded and is not the trained model."""


def set_aside(output: Path, faults: list[str]) -> UserError:
    """Keep what differs under a name that says so."""
    names = (output.with_name(f"{output.name}.failed{number}") for number in ("", *range(2, 1000)))
    # An earlier failure's folder is replaced, anybody else's of that name is left alone.
    failed = next(path for path in names if not path.exists() or (path / RECORD).is_file())
    shutil.rmtree(failed, ignore_errors=True)
    _partial(output).rename(failed)
    return UserError(
        f"the export is not the trained model: {first_of(faults)}",
        where=str(failed / RECORD),
        why=f"it was therefore not put in place as {output}",
        fix="try another precision; if that fails too, please report it with this record",
    )


def first_of(faults: list[str]) -> str:
    """Say how many checks failed, and which was the first."""
    return f"{len(faults)} of its checks failed, the first: {faults[0]}"


def _partial(output: Path) -> Path:
    return output.with_name(f".{output.name}.partial")


@contextmanager
def whole(output: Path, size: int) -> Generator[None]:
    """Leave nothing half-written behind, whatever ends the writing, SIGTERM included; say so where the disk did."""
    previous = (
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if threading.current_thread() is threading.main_thread()
        else None
    )
    try:
        yield
    except DiffersError:
        raise
    except BaseException as error:
        shutil.rmtree(_partial(output), ignore_errors=True)
        if reason := ended_by_disk(error):
            raise UserError(
                f"the disk ended the writing: {reason}",
                where=str(output.parent),
                why=f"the export takes {size / _GB:.3g} GB; what was written of it is removed",
                fix="free space, or give --output a place on another disk",
            ) from error
        raise
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)
