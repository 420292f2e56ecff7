"""Answer with the original script's flags and defaults, in the terminal; `alpaca-lora chat` is today's way."""

import os
import sys

from alpaca_lora.cli import run_reporting
from alpaca_lora.original import GENERATE_DEFAULTS, chat_settings, print_help, print_notes


def main() -> None:
    """Turn the original command line into settings and answer."""
    if {"--help", "-h"} & set(sys.argv):
        return print_help("generate.py", "chat", GENERATE_DEFAULTS)
    config, notes = chat_settings(sys.argv[1:], os.environ)
    print_notes(notes, os.environ)
    from alpaca_lora.inference.chat import chat

    chat(config)
    return None


if __name__ == "__main__":
    raise SystemExit(run_reporting(main))
