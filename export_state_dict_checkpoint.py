"""Merge an adapter into its base in Meta's format, as the original script did: BASE_MODEL in, ./ckpt out."""

import os
import sys

from alpaca_lora.cli import run_reporting
from alpaca_lora.original import print_help
from alpaca_lora.original_exports import META_DEFAULTS, meta_settings


def main() -> None:
    """Turn environment and flags into settings and export."""
    if {"--help", "-h"} & set(sys.argv):
        return print_help("export_state_dict_checkpoint.py", "export meta", META_DEFAULTS)
    config = meta_settings(sys.argv[1:], os.environ)
    from alpaca_lora.export.run import export_meta

    export_meta(config)
    return None


if __name__ == "__main__":
    raise SystemExit(run_reporting(main))
