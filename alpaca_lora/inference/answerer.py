"""One answer's steps over loaded models: heads taken from the cache, the compiled step where there is one."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from alpaca_lora.inference.compiled import CompiledStep
from alpaca_lora.inference.engine import Request
from alpaca_lora.inference.generate import Answer, answer_steps
from alpaca_lora.inference.models import Models
from alpaca_lora.inference.prompt_cache import PromptCache


class Answerer:
    """Computes answers of one set of models; for one thread.

    Args:
        compiled: computes a token faster than the model itself, where it could be compiled.
    """

    def __init__(self, models: Models, compiled: CompiledStep | None = None) -> None:
        self._models = models
        self._heads = PromptCache()
        self._compiled = compiled

    def steps(self, request: Request, answer: Answer) -> Generator[str]:
        """Compute an answer, see `answer_steps`. Its adapter must be selected at every step; close it if left early."""
        model, compiled, borrowed = self._models.model, self._compiled, None

        def begin() -> Any:
            nonlocal borrowed
            cache, answer.reused_tokens = self._heads.begin(model, request.model, request.ids, request.heads)
            if compiled and request.sampling.num_beams == 1:
                borrowed = compiled.borrow(model, cache, len(request.ids) + request.sampling.max_new_tokens)
            return cache if borrowed is None else borrowed

        def step(**inputs: Any) -> Any:
            return (model if compiled is None or borrowed is None else compiled.step)(**inputs)

        try:
            yield from answer_steps(
                model, self._models.tokenizer, request.ids, request.sampling, answer,
                end=request.end, stop=request.stop, begin=begin, step=step,
            )  # fmt: skip
        finally:
            if compiled and borrowed is not None:
                compiled.give_back(borrowed)


def open_answerer(models: Models, slots: int) -> Answerer:
    """Make it for so many answers at once, compiled where that was asked for."""
    return Answerer(models, CompiledStep(models.model, slots) if models.compiles else None)
