"""Install a contender into an environment of its own: one command each.

    python benchmarks/peers/install.py trl | litgpt | llamafactory | unsloth [--work FOLDER] [--torch torch==2.13.0]

Versions are pinned in `requirements-NAME.txt`. torch comes first and alone, so that the machine's own build of it
(CPU or CUDA) stays; whatever would replace it is installed without its dependencies. Standard library only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Contender:
    """A program to compare: its script here, and the environment it runs in; empty: this one."""

    script: str
    environment: str = ""


CONTENDERS = {
    "ours": Contender("ours.py"),
    "recipe_2023": Contender("recipe_2023.py"),
    "trl": Contender("trl_sft.py", "trl"),
    "litgpt": Contender("litgpt_lora.py", "litgpt"),
    "llamafactory": Contender("llamafactory_sft.py", "llamafactory"),
    "unsloth": Contender("unsloth_sft.py", "unsloth"),
}
ENVIRONMENTS = [contender.environment for contender in CONTENDERS.values() if contender.environment]


def work_folder() -> Path:
    """Give the folder for environments, models and runs: `alpaca-lora-benchmarks` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "alpaca-lora-benchmarks"


def environment_python(contender: str, work: Path) -> Path:
    """Give the Python that a contender runs in."""
    name = CONTENDERS[contender].environment
    return work / "envs" / name / "bin" / "python" if name else Path(sys.executable)


def install(name: str, work: Path, torch: str) -> None:
    """Make the environment and install torch, then the pinned packages, then those that may bring no dependencies."""
    folder = work / "envs" / name
    if not (folder / "bin" / "python").is_file():
        venv.create(folder, with_pip=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, torch], check=True)
    subprocess.run([*pip, "--requirement", str(HERE / f"requirements-{name}.txt"), torch], check=True)
    bare = HERE / f"requirements-{name}-no-deps.txt"
    if bare.is_file():
        subprocess.run([*pip, "--no-deps", "--requirement", str(bare)], check=True)


def main() -> None:
    """Install the environments named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=ENVIRONMENTS)
    parser.add_argument("--work", type=Path, default=work_folder())
    parser.add_argument("--torch", default="torch==2.13.0", help="requirement for torch")
    arguments = parser.parse_args()
    for name in arguments.names:
        install(name, arguments.work, arguments.torch)
        print(f"{name}: installed in {arguments.work / 'envs' / name}")


if __name__ == "__main__":
    main()
