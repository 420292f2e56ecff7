"""`python -m alpaca_lora` is the `alpaca-lora` command."""

from alpaca_lora.cli import main

main()
