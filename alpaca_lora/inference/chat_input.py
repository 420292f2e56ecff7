"""What the user types: questions of several lines, completion, and a history that is there the next time."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

_KEPT = 1000


class LineReader:
    """Standard input. At a terminal the arrow keys bring back what was typed before, and tab completes.

    Args:
        complete: gives what the last word of a line can become.
    """

    def __init__(self, complete: Callable[[str], Sequence[str]]) -> None:
        self._remember: Callable[[str], None] = lambda text: None
        if sys.stdin.isatty() and sys.stdout.isatty():
            try:
                import readline
            except ImportError:  # Windows has its own history
                return
            history = History(history_file())
            for entry in history.entries:
                readline.add_history(entry)
            readline.set_auto_history(False)  # it would take each line of a question for an entry
            self._remember = lambda text: readline.add_history(text) if history.add(text) else None
            readline.set_completer_delims(" ")
            readline.set_completer(lambda _, number: [*complete(readline.get_line_buffer()), None][number])
            is_libedit = "libedit" in (readline.__doc__ or "")
            readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")

    def read(self) -> str | None:
        """Read a line, or several, each but the last ending in a backslash, as one; None at the end of input."""
        while True:
            try:
                text = input("\n> ").rstrip()
                while text.endswith("\\"):
                    text = f"{text[:-1]}\n{input('  ').rstrip()}"
                text.encode()
            except EOFError:
                print()
                return None
            except KeyboardInterrupt:
                print("\n/quit or Ctrl-D leaves")
            except UnicodeError as error:
                print(f"that line cannot be read: {error}")
            else:
                self._remember(text.strip())
                return text.strip()


class History:
    """What was typed, in a file that only its user can read. An entry's line breaks have a backslash before them.

    Attributes:
        entries: what was typed, the latest last.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._is_kept = True
        self.entries: list[str] = []
        try:
            found = re.split(r"(?<!\\)\n", file.read_text(encoding="utf-8", errors="replace"))[:-1]
            self.entries = [entry.replace("\\\n", "\n") for entry in found[-_KEPT:]]
            if len(found) > 2 * _KEPT:
                self._write("w", self.entries)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._give_up(error)

    def add(self, text: str) -> bool:
        """Keep one more entry; tell whether it is new: no empty one, and not the last one again."""
        if not text or self.entries[-1:] == [text]:
            return False
        self.entries.append(text)
        try:
            if self._is_kept:
                self._write("a", [text])
        except OSError as error:
            self._give_up(error)
        return True

    def _write(self, mode: str, entries: Sequence[str]) -> None:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self._file, mode, encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.writelines(entry.replace("\n", "\\\n") + "\n" for entry in entries)

    def _give_up(self, error: OSError) -> None:
        self._is_kept = False
        print(f"note: the history is not kept: {error.strerror}: {self._file}", file=sys.stderr)


def history_file() -> Path:
    """Give the file of the history: in `$XDG_STATE_HOME`, else in `~/.local/state`."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(state, "alpaca-lora", "chat_history")
