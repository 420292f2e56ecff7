"""Write the small world: the corpus the base model reads, the sample instructions and the held-out questions.

    python scripts/make_world.py --corpus FOLDER

The same seed gives the same bytes on every platform and Python.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

from world.corpus import documents
from world.entries import entry_documents
from world.questions import Row, instruction_rows

SEED = 20261124
ROUNDS = {"plain": 150, "entries": 40}
"""Rounds over all facts in the corpus of each pretraining stage."""
SAMPLE_FOLDER = Path(__file__).parents[1] / "alpaca_lora" / "assets" / "sample"


def corpus_documents(stage: str) -> list[str]:
    """Give the documents of a pretraining stage."""
    write = documents if stage == "plain" else entry_documents
    return list(write(SEED, ROUNDS[stage]))


def corpus_bytes(texts: list[str]) -> bytes:
    """Join the documents into the corpus file: one document a line, its own line ends written as JSON does."""
    return "".join(json.dumps(text, ensure_ascii=False) + "\n" for text in texts).encode("utf-8")


def corpus_sha256(texts: list[str]) -> str:
    """Give the hash that `pretraining.json` records."""
    return hashlib.sha256(corpus_bytes(texts)).hexdigest()


def rows_bytes(rows: list[Row]) -> bytes:
    """Write rows as a JSON array, one row a line."""
    return ("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n").encode("utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, help="write the corpus to this folder too, a document a line")
    folder = parser.parse_args().corpus
    rows = instruction_rows(SEED)
    SAMPLE_FOLDER.mkdir(parents=True, exist_ok=True)
    (SAMPLE_FOLDER / "sample.json").write_bytes(rows_bytes(rows.sample))
    (SAMPLE_FOLDER / "held_out.json").write_bytes(rows_bytes(rows.held_out))
    print(f"{len(rows.sample)} sample rows, {len(rows.held_out)} held-out questions")
    for stage in ROUNDS:
        texts = corpus_documents(stage)
        if folder:
            (folder / f"{stage}.jsonl").write_bytes(corpus_bytes(texts))
        print(f"{stage}: {len(texts)} documents, {sum(map(len, texts))} characters, sha256 {corpus_sha256(texts)}")


if __name__ == "__main__":
    main()
