"""Tokens to text as they come: whole characters only, and nothing from a stop string on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_INCOMPLETE = "�"


class TextStream:
    """Turn ids into text as they come, special tokens left out, spaces as the model wrote them.

    A piece is given out once no token to come can change it. It is decoded after the piece before it, because a
    tokenizer drops the space that a text begins with. Bytes that are no UTF-8 become U+FFFD.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._piece: list[int] = []
        self._before: list[int] = []

    def add(self, token: int) -> str:
        """Take one more token; give the text that is certain now, empty in the middle of a character."""
        self._piece.append(token)
        text = self._decode()
        if not text or text.endswith(_INCOMPLETE):
            return ""
        self._before, self._piece = self._piece, []
        return text

    def end(self) -> str:
        """Give what is left when no token comes any more."""
        return self._decode() if self._piece else ""

    def _decode(self) -> str:
        head, whole = (self._plain(ids) for ids in (self._before, self._before + self._piece))
        if whole.startswith(head):
            return whole[len(head) :]
        # LLaMA's decoder spoils all bytes of a run for one that is wrong, also those that are out already.
        return self._plain(self._piece)

    def _plain(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def text_pieces(tokenizer: PreTrainedTokenizerFast, ids: Iterable[int]) -> Iterator[str]:
    """Turn ids into pieces of text, none of them empty."""
    stream = TextStream(tokenizer)
    for token in ids:
        if text := stream.add(token):
            yield text
    if text := stream.end():
        yield text


def decode_answer(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> str:
    """Turn an answer's ids into the text that streaming gives out for them."""
    return "".join(text_pieces(tokenizer, ids))


class StopStrings:
    """Let text through up to the first of some strings; what may be the beginning of one is held back until it is not.

    Attributes:
        found: whether a stop string has come: nothing follows.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.found = False

    def add(self, text: str) -> str:
        """Take more text; give what is certain to stand before any stop string."""
        if self.found:
            return ""
        held = self._held + text
        places = [place for stop in self._stops if (place := held.find(stop)) >= 0]
        if places:
            self.found, self._held = True, ""
            return held[: min(places)]
        keep = max((_overlap(held, stop) for stop in self._stops), default=0)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def end(self) -> str:
        """Give what was held back, as no more text comes."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Count the characters at a text's end that a stop string begins with."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
