"""The one exception a user can cause: it says what was wrong, where, why it matters and how to fix it."""

from __future__ import annotations


class UserError(Exception):
    """Stop with a message the user can act on; the command line prints it and exits with code 2, no traceback.

    Args:
        what: what is wrong, one sentence.
        where: file:line, flag or setting it was found at.
        why: why it matters, where that is not plain from `what`.
        fix: the command or value that mends it.
    """

    def __init__(self, what: str, *, where: str = "", why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        lines = [self.what]
        lines += [f"  {label}: {text}" for label, text in self._details() if text]
        return "\n".join(lines)

    def _details(self) -> list[tuple[str, str]]:
        return [("where", self.where), ("why", self.why), ("fix", self.fix)]


class Interrupted(Exception):
    """SIGINT or SIGTERM arrived; the step was finished and saved. The command line exits with 128 + the signal."""

    def __init__(self, signal_number: int, step: int) -> None:
        super().__init__(f"stopped by signal {signal_number} after step {step}")
        self.signal_number = signal_number
        self.step = step
