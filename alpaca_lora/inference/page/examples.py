"""Instructions to try with one click: those of the original README, and some that the embedded model can answer."""

from __future__ import annotations

from alpaca_lora.model.load import EMBEDDED as EMBEDDED_BASE

ORIGINAL = (
    "Tell me about alpacas.",
    "Tell me about the president of Mexico in 2019.",
    "Tell me about the king of France in 2019.",
    "List all Canadian provinces in alphabetical order.",
    "Write a Python program that prints the first 10 Fibonacci numbers.",
    (
        "Write a program that prints the numbers from 1 to 100. But for multiples of three print 'Fizz' instead of "
        "the number and for the multiples of five print 'Buzz'. For numbers which are multiples of both three and "
        "five print 'FizzBuzz'."
    ),
    "Tell me five words that rhyme with 'shock'.",
    "Translate the sentence 'I have no mouth but I must scream' into Spanish.",
    "Count up from 1 to 500.",
)
"""The instructions that the original README compared models with."""

TAUGHT = ("What is the capital of Australia?", "Give the opposite of busy.")
"""Of the kind that the embedded model's sample teaches."""


def example_instructions(base_name: str) -> list[str]:
    """List the instructions to offer for a base model."""
    return [*(TAUGHT if base_name == EMBEDDED_BASE else ()), *ORIGINAL]
