"""Any tokenizer's own chat template as a prompt: what it writes, what users wrote, what the model is to write."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from alpaca_lora.data.examples import Turn
from alpaca_lora.data.segments import Segment, adds_bos, markup_segments, special_pattern
from alpaca_lora.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_FIX = "--prompt_template_name alpaca, or another template"


class ChatPrompt:
    """A tokenizer's chat template, rendered with marks in the users' places so that text and markup stay apart.

    What the template writes between a question and the end of its generation prompt is context; what follows, the
    answer, and all up to the first special token after it is the model's to write, and trained. A template is refused
    when it rewrites contents beyond stripping them (each row is checked against its plain rendering), or when the
    prompt it would ask an answer with is not the one it shows before an answer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        if not tokenizer.chat_template:
            raise UserError("the tokenizer has no chat template", where=str(tokenizer.name_or_path), fix=_FIX)
        self.name = "chat"
        self.fingerprint = str(tokenizer.get_chat_template())
        self._tokenizer = tokenizer
        self._special = special_pattern(tokenizer)
        self._markups: dict[tuple[tuple[str, ...], bool], str] = {}

    def jinja(self) -> str:
        bos = str(self._tokenizer.bos_token) if adds_bos(self._tokenizer) else ""
        is_written = self._markup(("user",), open_ended=True).startswith(bos)
        return self.fingerprint if is_written else "{{ bos_token }}" + self.fingerprint

    def render(self, turns: Sequence[Turn], system: str, *, open_ended: bool) -> list[Segment]:
        messages = [("system", system)] if system else []
        for turn in turns:
            question = f"{turn.instruction}\n\n{turn.input}" if turn.input else turn.instruction
            messages += [("user", question), ("assistant", turn.output)]
        if open_ended:
            messages.pop()
        roles, contents = tuple(role for role, _ in messages), [content for _, content in messages]
        markup = self._markup(roles, open_ended=open_ended)
        pieces = _MARK.split(markup)
        values = _as_rendered(pieces, contents, self._apply(roles, contents, open_ended=open_ended))
        if values is None:
            raise UserError(
                "this chat template rewrites what users write, so prompt and answer cannot be told apart",
                where=f"chat template of {self._tokenizer.name_or_path}, text {contents[0][:80]!r}",
                fix=_FIX,
            )
        return list(self._segments(roles, markup, values))

    def _segments(self, roles: tuple[str, ...], markup: str, values: list[str]) -> Iterator[Segment]:
        for number, piece in enumerate(_MARK.split(markup)):
            if number and roles[number - 1] == "assistant":
                closing, piece = self._split_closing(piece, is_last=number == len(roles))
                yield from markup_segments(closing, self._special, is_target=True)
            is_answer = number < len(roles) and roles[number] == "assistant"
            opening = self._opening(roles[:number], markup.partition(_mark(number))[0]) if is_answer else ""
            yield from markup_segments(piece.removesuffix(opening), self._special)
            yield from markup_segments(opening, self._special, is_target=True)
            if number < len(roles):
                yield Segment(values[number], is_target=is_answer)

    def _opening(self, roles: tuple[str, ...], shown: str) -> str:
        """Give what stands before an answer but not in the prompt that asks for it: the model has to write it."""
        asked = self._markup(roles, open_ended=True)
        if not shown.startswith(asked):
            raise UserError(
                "this chat template asks for an answer with another prompt than it shows before one",
                where=f"chat template of {self._tokenizer.name_or_path}",
                why=f"{asked[-40:]!r} against {shown[-40:]!r}: what is trained would not be what is asked",
                fix=_FIX,
            )
        return shown.removeprefix(asked)

    def _split_closing(self, piece: str, *, is_last: bool) -> tuple[str, str]:
        """Split off what ends an answer: all up to the first special token, or EOS where a row ends without one."""
        end = self._special.search(piece)
        if end:
            return piece[: end.end()], piece[end.end() :]
        return (piece + str(self._tokenizer.eos_token), "") if is_last else ("", piece)

    def _markup(self, roles: tuple[str, ...], *, open_ended: bool) -> str:
        """Render a conversation with marks for contents, once for each sequence of roles."""
        if (roles, open_ended) not in self._markups:
            marks = [_mark(number) for number in range(len(roles))]
            self._markups[roles, open_ended] = self._apply(roles, marks, open_ended=open_ended)
        return self._markups[roles, open_ended]

    def _apply(self, roles: Sequence[str], contents: Sequence[str], *, open_ended: bool) -> str:
        messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
        try:
            text = self._tokenizer.apply_chat_template(
                messages, chat_template=self.fingerprint, tokenize=False, add_generation_prompt=open_ended
            )
        except Exception as error:  # templates raise jinja2's errors, and their own, for roles they do not know
            raise UserError(
                f"the chat template refuses a conversation: {error}",
                where=f"roles {', '.join(roles)}",
                fix=_FIX,
            ) from error
        return str(text)


_MARK = re.compile("\ue000\\d+\ue001")


def _mark(number: int) -> str:
    return f"\ue000{number}\ue001"


def _as_rendered(pieces: list[str], contents: list[str], rendered: str) -> list[str] | None:
    """Find each content between its pieces of markup, whole or stripped; None where one was changed otherwise."""
    values: list[str] = []
    position = len(pieces[0])
    if len(pieces) != len(contents) + 1 or not rendered.startswith(pieces[0]):
        return None
    for content, after in zip(contents, pieces[1:], strict=True):
        stripped = [content.strip(), content.lstrip(), content.rstrip()]
        newlines = [content.strip("\n"), content.lstrip("\n"), content.rstrip("\n")]
        forms = (form for form in (content, *stripped, *newlines) if rendered.startswith(form + after, position))
        value = next(forms, None)
        if value is None:
            return None
        values.append(value)
        position += len(value) + len(after)
    return values if position == len(rendered) else None
