"""Room on the disk: asked for before an export is written, and told from other faults where it ends in the middle."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

from alpaca_lora.errors import UserError

_GB = 10**9
_COMPANION_BYTES = 50 * 10**6
"""Room for tokenizer, config and card beside the weights."""

_ENDS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_WORDS = re.compile(
    rf"\(os error ({'|'.join(map(str, _ENDS))})\)"
    r"|PytorchStreamWriter failed writing|unexpected pos \d+ vs \d+|\d+ requested and \d+ written"
)
"""How safetensors, torch and numpy report a full disk: as text alone."""


def check_disk(output: Path, size: int, scratch: int) -> None:
    """Refuse to begin an export of `size` bytes, for whose verification `scratch` more are written for a while."""
    free = shutil.disk_usage(output.parent).free
    if size + scratch + _COMPANION_BYTES > free:
        more = f", verifying it takes {scratch / _GB:.3g} GB more" if scratch else ""
        raise UserError(
            f"the export takes {size / _GB:.3g} GB{more}, {free / _GB:.3g} GB are free",
            where=str(output.parent),
            fix="free space, give --output a place on another disk, or choose a smaller precision",
        )


def ended_by_disk(error: BaseException) -> str:
    """Say what the disk ended a writing with; empty where it was something else."""
    if isinstance(error, OSError) and error.errno in _ENDS:
        return os.strerror(error.errno)
    return str(error).splitlines()[0][:200] if _WORDS.search(str(error)) else ""
