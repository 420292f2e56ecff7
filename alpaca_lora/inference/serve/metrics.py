"""What the server counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from alpaca_lora.inference.engine import Engine, Finished

_FIRST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_WHOLE = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """Counters of one server, apart from those of any other in the process."""

    def __init__(self, engine: Engine) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "alpaca_lora_requests", "Requests by route and HTTP status; route none: refused at the door or unknown",
            ["route", "status"], registry=registry,
        )  # fmt: skip
        self._answers = Counter(
            "alpaca_lora_answers", "Answers by how they ended: stop, length, cancelled, error", ["end"],
            registry=registry,
        )  # fmt: skip
        self._prompt = Counter("alpaca_lora_prompt_tokens", "Tokens of the prompts", registry=registry)
        self._reused = Counter(
            "alpaca_lora_reused_prompt_tokens", "Of these, tokens that had been computed before", registry=registry
        )
        self._tokens = Counter("alpaca_lora_answer_tokens", "Tokens of the answers", registry=registry)
        self._first = Histogram(
            "alpaca_lora_first_token_seconds", "From the question to the answer's first token, the queue included",
            buckets=_FIRST, registry=registry,
        )  # fmt: skip
        self._whole = Histogram(
            "alpaca_lora_answer_seconds", "From the question to the answer's end, the queue included",
            buckets=_WHOLE, registry=registry,
        )  # fmt: skip
        waiting = Gauge("alpaca_lora_waiting_requests", "Requests that wait for a slot", registry=registry)
        waiting.set_function(lambda: engine.waiting)
        active = Gauge("alpaca_lora_active_requests", "Requests that are being answered", registry=registry)
        active.set_function(lambda: engine.active)

    def count_request(self, route: str, status: int) -> None:
        """Count a request once its answer has begun."""
        self._requests.labels(route, str(status)).inc()

    def count_answer(self, end: Finished | Exception) -> None:
        """Count an answer once it has ended."""
        if isinstance(end, Exception):
            self._answers.labels("error").inc()
            return
        self._answers.labels(end.reason).inc()
        self._tokens.inc(end.tokens)
        if end.tokens:
            self._prompt.inc(end.prompt_tokens)
            self._reused.inc(end.reused_tokens)
            self._first.observe(end.waited_seconds + end.first_seconds)
            self._whole.observe(end.waited_seconds + end.seconds)

    def text(self) -> bytes:
        """Give all of it in Prometheus's text format."""
        return generate_latest(self._registry)
