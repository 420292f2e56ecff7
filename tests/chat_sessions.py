"""Models to chat with, chats that are typed, and the program on a pseudo-terminal."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tiny_models import chain_model, tiny_model, write_adapter, write_base

from alpaca_lora.config import ModelConfig
from alpaca_lora.data.encoder import TextEncoder
from alpaca_lora.data.examples import Turn
from alpaca_lora.data.prompts import load_prompt
from alpaca_lora.data.tokens import encode_prompt
from alpaca_lora.inference.settings import AdaptersConfig, ChatConfig, SamplingConfig
from alpaca_lora.model.tokenizer import load_tokenizer

ANSWER = "the cat"
CONTEXT = 4096
SHORT = SamplingConfig(max_new_tokens=12)


def write_chat_models(root: Path) -> Path:
    """Write `speaker`, which answers ANSWER to anything, and `random` with the adapters `one` and `two`."""
    for name in ("speaker", "random"):
        write_base(root / name, max_position_embeddings=CONTEXT)
        load_tokenizer(root / name)[0].save_pretrained(root / name)  # with its padding named, so that nothing is noted
    make_speaker(root / "speaker", ANSWER)
    for seed, name in enumerate(("one", "two"), start=1):
        base = tiny_model(max_position_embeddings=CONTEXT)
        write_adapter(root / name, base, str(root / "random"), seed, lora_r=4)
    return root


def make_speaker(base: Path, answer: str) -> None:
    """Let a base answer this to anything; no token of the answer may come twice."""
    tokenizer, _ = load_tokenizer(base)
    ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
    chain_model([*ids, tokenizer.eos_token_id], max_position_embeddings=CONTEXT).save_pretrained(base)


def chat_config(base: Path | None, *adapters: Path, adapter_dir: Path | str = "", **settings: Any) -> ChatConfig:
    """Give the settings of a chat on the CPU; `prompt_template_name` and `merge_adapter` go to the adapters'."""
    model = ModelConfig(base_model=str(base) if base else "", device="cpu", dtype="float32")
    own = {name: settings.pop(name) for name in ("prompt_template_name", "merge_adapter") if name in settings}
    chosen = AdaptersConfig(adapter=tuple(map(str, adapters)), adapter_dir=str(adapter_dir), **own)
    return ChatConfig(model=model, adapters=chosen, **{"sampling": SHORT} | settings)


def prompt_ids(base: Path, *turns: Turn, template: str = "alpaca", system: str = "") -> list[int]:
    """Give the ids that training would give a conversation whose last answer is to come."""
    tokenizer, _ = load_tokenizer(base)
    return encode_prompt(TextEncoder(tokenizer), load_prompt(template, tokenizer), turns, system)


class Terminal:
    """Python on a pseudo-terminal, as a person sees it."""

    def __init__(self, *arguments: str, state: Path) -> None:
        self.mine, its = os.openpty()
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=its,
            stdout=its,
            stderr=its,
            start_new_session=True,
            env=os.environ | {"TERM": "dumb", "XDG_STATE_HOME": str(state)},
        )
        os.close(its)
        self.seen = ""

    def wait_for(self, text: str) -> str:
        """Read until a text has come since the last one waited for; give what came before it."""
        while text not in self.seen:
            assert select.select([self.mine], [], [], 60)[0], f"nothing came for a minute; seen: {self.seen[-200:]!r}"
            try:
                piece = os.read(self.mine, 4096)
            except OSError:  # Linux says so when the other side is closed
                piece = b""
            assert piece, f"the program ended; since the last match: {self.seen!r}"
            self.seen += piece.decode("utf-8", "replace")
        before, _, self.seen = self.seen.partition(text)
        return before

    def press_ctrl_c_until(self, text: str) -> None:
        """Interrupt until an answer comes: Python sees a signal that arrives just before it waits only after that."""
        for _ in range(30):
            self.process.send_signal(signal.SIGINT)
            if select.select([self.mine], [], [], 2)[0]:
                break
        self.wait_for(text)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.mine, text.encode())

    def leave(self) -> int:
        """Press Ctrl-D at the prompt; give the exit code."""
        self.type("\x04")
        return self.process.wait(timeout=60)

    def close(self) -> None:
        """End the program if it still runs."""
        self.process.kill()
        self.process.wait()
        os.close(self.mine)
