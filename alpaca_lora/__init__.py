"""Alpaca-LoRA: from a JSON of instructions and a LLaMA-class base model to an adapter that follows instructions."""

__version__ = "0.1.0"
