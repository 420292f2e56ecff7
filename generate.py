"""The page with the original script's flags and defaults, or one answer to --prompt; today's ways are the verbs."""

import os
import sys

from alpaca_lora.cli import run_reporting
from alpaca_lora.inference.settings import ChatConfig
from alpaca_lora.original import GENERATE_DEFAULTS, generate_settings, print_help, print_notes


def main() -> None:
    """Turn the original command line into settings, and open the page or answer once."""
    if {"--help", "-h"} & set(sys.argv):
        return print_help("generate.py", "ui", GENERATE_DEFAULTS)
    config, notes = generate_settings(sys.argv[1:], os.environ)
    print_notes(notes, os.environ)
    if isinstance(config, ChatConfig):
        from alpaca_lora.inference.chat import chat

        chat(config)
    else:
        from alpaca_lora.inference.page.run import ui

        ui(config)
    return None


if __name__ == "__main__":
    raise SystemExit(run_reporting(main))
