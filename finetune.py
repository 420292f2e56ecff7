"""Fine-tune with the original script's flags and defaults; `alpaca-lora finetune` has the ones recommended today."""

import os
import sys

from alpaca_lora.cli import run_reporting
from alpaca_lora.original import FINETUNE_DEFAULTS, finetune_settings, print_help, print_notes


def main() -> None:
    """Turn the original command line into settings and train."""
    if {"--help", "-h"} & set(sys.argv):
        return print_help("finetune.py", "finetune", FINETUNE_DEFAULTS)
    config, notes = finetune_settings(sys.argv[1:], os.environ)
    print_notes(notes, os.environ)
    from alpaca_lora.training.run import finetune

    finetune(config)
    return None


if __name__ == "__main__":
    raise SystemExit(run_reporting(main))
