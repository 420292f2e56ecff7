"""Merge an adapter into its base as a Hugging Face folder, as the original script did: BASE_MODEL in, ./hf_ckpt out."""

import os
import sys

from alpaca_lora.cli import run_reporting
from alpaca_lora.original import print_help
from alpaca_lora.original_exports import HF_DEFAULTS, hf_settings


def main() -> None:
    """Turn environment and flags into settings and export."""
    if {"--help", "-h"} & set(sys.argv):
        return print_help("export_hf_checkpoint.py", "export hf", HF_DEFAULTS)
    config = hf_settings(sys.argv[1:], os.environ)
    from alpaca_lora.export.run import export_hf

    export_hf(config)
    return None


if __name__ == "__main__":
    raise SystemExit(run_reporting(main))
