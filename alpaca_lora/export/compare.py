"""Tell an export from the trained model, question by question: ids, likeliest tokens, logits, KL divergence."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from alpaca_lora.errors import UserError
from alpaca_lora.export.probes import Probe
from alpaca_lora.export.readers import Reader

_RESOLUTION = 1e-6
"""What float32 log-probabilities of some hundred tokens leave uncertain of the rest's probability."""


@dataclass(frozen=True)
class Limits:
    """How far an export may be from what it is compared with.

    Attributes:
        difference: largest difference of a logit (of a log-probability, where a program gives no logits), as a share of
            the largest logit at that place: float32 keeps so many digits of that, not of a number of nats.
        kl: largest mean KL divergence per token over the tokens of an answer, in nats.
        tie: two tokens whose log-probabilities are this close may change places, in nats.
    """

    difference: float
    kl: float
    tie: float


@dataclass(frozen=True)
class Difference:
    """A token of an answer where the export's likeliest token is another one.

    Attributes:
        position: 0-based, in the answer.
        expected, found: token ids.
        gap: how much likelier the trained model finds `expected`, in nats.
    """

    position: int
    expected: int
    found: int
    gap: float


@dataclass(frozen=True)
class Result:
    """One question's comparison.

    Attributes:
        same_ids: the program encodes the prompt to the training's ids; None where it does not encode.
        same_chat: its chat template renders the training's prompt, with BOS once; None where it has none.
        near_ties, wrong: likeliest tokens that differ, within and outside of the limit.
        difference: largest difference of a logit or log-probability, see `Limits`.
        kl, kl_max: mean and largest KL divergence per token, in nats.
    """

    name: str
    tokens: int
    same_ids: bool | None
    same_chat: bool | None
    compared: int
    near_ties: list[Difference]
    wrong: list[Difference]
    difference: float
    kl: float
    kl_max: float


@dataclass(frozen=True)
class Comparison:
    """All questions put to one program, compared with one model.

    Attributes:
        against: the model that gave the expected answers.
        program: the program that read the export, with its version.
    """

    against: str
    program: str
    limits: Limits
    results: list[Result] = field(default_factory=list[Result])

    @property
    def faults(self) -> list[str]:
        """Say in a line each what is outside its limit."""
        found: list[str] = []
        for result in self.results:
            if result.same_ids is False:
                found.append(f"{result.name}: the prompt's token ids differ")
            if result.same_chat is False:
                found.append(f"{result.name}: the chat template does not give the training's prompt")
            if result.wrong:
                first = result.wrong[0]
                found.append(
                    f"{result.name}: {len(result.wrong)} of {result.compared} tokens differ, the first at "
                    f"{first.position}, where {first.expected} was {first.gap:.2g} nats likelier than {first.found}"
                )
            if not result.difference <= self.limits.difference:
                found.append(f"{result.name}: a score differs by {result.difference:.2g}")
            if not result.kl <= self.limits.kl:
                found.append(f"{result.name}: the KL divergence is {result.kl:.2g} nats a token")
        return [f"against {self.against}, {fault}" for fault in found]

    def record(self) -> dict[str, Any]:
        """Give it as JSON's types; infinite limits and differences become None."""
        return _finite(asdict(self))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def compare(
    reader: Reader, probes: list[Probe], against: str, limits: Limits, console: Console, *, texts: bool = True
) -> Comparison:
    """Put every question to a program and compare what it makes of it with what the model of `probes` made.

    Args:
        texts: compare also what the program makes of the prompts' texts: token ids and chat template.
    """
    comparison = Comparison(against, reader.name, limits)
    for probe in track(
        probes, f"asking {reader.name}", console=console, transient=True, disable=not console.is_terminal
    ):
        same_ids = same_chat = None
        if texts and probe.can_be_text:
            ids = reader.tokenize(probe.text, plain=probe.plain)
            same_ids = None if ids is None else ids == probe.ids
        if texts and not probe.question[1] and not probe.plain:
            same_chat = _same_chat(reader, probe)
        found = _score(probe.logits, _follow(reader, probe), reader.gives_logits, limits)
        comparison.results.append(Result(probe.name, len(probe.ids), same_ids, same_chat, len(probe.answer), *found))
    return comparison


def _follow(reader: Reader, probe: Probe) -> Tensor:
    """Give the program's scores; refuse an export of another model, which has another vocabulary or other shapes."""
    try:
        found = reader.follow(probe.ids, probe.answer)
    except (IndexError, RuntimeError) as error:
        raise UserError(
            f"{reader.name} cannot compute the question {probe.name!r}: {str(error)[:200]}",
            fix="give the export of this very base and adapter, or export it again",
        ) from error
    if found.shape != probe.logits.shape:
        raise UserError(
            f"the export has {found.shape[-1]} vocabulary entries, the trained model {probe.logits.shape[-1]}",
            fix="give the export of this very base and adapter",
        )
    return found


def _same_chat(reader: Reader, probe: Probe) -> bool | None:
    """Compare the rendered text, less a BOS that it begins with, and the count of tokens: BOS twice would raise it."""
    text, count = reader.chat_text(probe.question[0]), reader.chat_tokens(probe.question[0])
    if text is None and count is None:
        return None
    return (text is None or text.endswith(probe.text)) and (count is None or count == len(probe.ids))


def _score(
    logits: Tensor, found: Tensor, gives_logits: bool, limits: Limits
) -> tuple[list[Difference], list[Difference], float, float, float]:
    if gives_logits:
        found = found.nan_to_num(nan=torch.inf)  # broken, not unknown
    known = ~found.isnan()
    logits, p, q = logits.double(), logits.double().log_softmax(-1), found.double()
    apart = (logits - q if gives_logits else p - q).abs() / logits.abs().amax(-1, keepdim=True).clamp(min=1)
    q = q.log_softmax(-1) if gives_logits else q
    near_ties: list[Difference] = []
    wrong: list[Difference] = []
    best, chosen = p.argmax(-1), q.nan_to_num(nan=-torch.inf).argmax(-1)
    for position in (best != chosen).nonzero().flatten().tolist():
        first, second = int(best[position]), int(chosen[position])
        gap = float(p[position, first] - p[position, second])
        (near_ties if gap <= limits.tie else wrong).append(Difference(position, first, second, gap))
    kl = kl_divergence(p, q, known)
    difference = float(apart[known].max()) if known.any() else math.inf
    return near_ties, wrong, difference, float(kl.mean()), float(kl.max())


def kl_divergence(p: Tensor, q: Tensor, known: Tensor) -> Tensor:
    """Give KL(p || q) of each row, in nats; what is unknown of q counts as one outcome, which can only lower it.

    A row of which nothing is known is infinitely far.

    Args:
        p, q: float64 (rows, vocabulary), log-probabilities.
        known: bool (rows, vocabulary), where q is known.
    """
    inside = torch.where(known, p.exp() * (p - q), 0.0).sum(-1)
    p_rest = torch.where(known, 0.0, p.exp()).sum(-1)
    q_rest = (1 - torch.where(known, q.exp(), 0.0).sum(-1)).clamp(min=_RESOLUTION)
    outside = torch.where(p_rest > 0, p_rest * (p_rest.clamp(min=1e-300).log() - q_rest.log()), 0.0)
    found = (inside + outside).nan_to_num(nan=torch.inf, posinf=torch.inf).clamp(min=0)
    return torch.where(known.any(-1), found, torch.inf)
