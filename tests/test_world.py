"""The embedded base, its corpus and its bundled rows are what the scripts and `pretraining.json` say they are."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
ASSETS = ROOT / "alpaca_lora" / "assets"
BASE = ASSETS / "alpaca-tiny"
MIB = 2**20


@pytest.fixture(scope="module")
def world() -> Any:
    """The generator's modules: they live beside the scripts, not in the package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        import make_world
        from world import corpus, questions, relation

        yield SimpleNamespace(make=make_world, corpus=corpus, questions=questions, relation=relation)


@pytest.fixture(scope="module")
def corpora(world: Any) -> dict[str, list[str]]:
    """The corpus of each pretraining stage."""
    return {stage: world.make.corpus_documents(stage) for stage in world.make.ROUNDS}


@pytest.fixture(scope="module")
def texts(corpora: dict[str, list[str]]) -> list[str]:
    """Everything the base has read."""
    return [text for stage in corpora.values() for text in stage]


@pytest.fixture(scope="module")
def rows(world: Any) -> Any:
    """The rows as the generator writes them now."""
    return world.questions.instruction_rows(world.make.SEED)


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    """What the pretraining run recorded."""
    return json.loads((BASE / "pretraining.json").read_text(encoding="utf-8"))


def bundled(name: str) -> list[dict[str, str]]:
    return json.loads((ASSETS / "sample" / name).read_text(encoding="utf-8"))


def test_the_generator_writes_the_bundled_rows(world: Any, rows: Any) -> None:
    assert world.make.rows_bytes(rows.sample) == (ASSETS / "sample" / "sample.json").read_bytes()
    assert world.make.rows_bytes(rows.held_out) == (ASSETS / "sample" / "held_out.json").read_bytes()


def test_the_generator_writes_the_corpus_the_base_was_trained_on(
    world: Any, corpora: dict[str, list[str]], record: dict[str, Any]
) -> None:
    assert record["seed"] == world.make.SEED
    assert list(record["stages"]) == list(corpora)
    for stage, texts in corpora.items():
        assert world.make.corpus_sha256(texts) == record["stages"][stage]["corpus_sha256"]
        assert len(texts) == record["stages"][stage]["corpus_documents"]


def test_rows_do_not_depend_on_the_hash_seed() -> None:
    code = (
        "import sys; sys.path.insert(0, 'scripts'); import hashlib; from make_world import *;"
        "rows = instruction_rows(SEED); texts = [*documents(SEED, 2), *entry_documents(SEED, 1)];"
        "print(hashlib.sha256(rows_bytes(rows.sample + rows.held_out) + corpus_bytes(texts)).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_another_seed_gives_another_world(world: Any) -> None:
    first, second = (list(world.corpus.documents(seed, 1)) for seed in (1, 2))
    assert first != second


def test_the_weights_are_the_recorded_ones_and_small(record: dict[str, Any]) -> None:
    content = (BASE / "model.safetensors").read_bytes()
    assert hashlib.sha256(content).hexdigest() == record["weights_sha256"]
    assert len(content) <= 12 * MIB


def test_the_bundled_rows_are_many_and_well_formed() -> None:
    sample, held_out = bundled("sample.json"), bundled("held_out.json")
    assert len(sample) >= 1000
    assert len(held_out) >= 150
    for row in sample + held_out:
        assert list(row) == ["instruction", "input", "output"]
        assert row["instruction"].strip()
        assert row["output"].strip() == row["output"] != ""
    assert any(row["input"] for row in sample)
    assert any(row["input"] for row in held_out)


def test_no_held_out_fact_or_question_is_in_the_sample(world: Any, rows: Any) -> None:
    asked = {(row["instruction"], row["input"]) for row in rows.sample}
    assert not asked & {(row["instruction"], row["input"]) for row in rows.held_out}
    assert not {row["output"] for row in rows.sample} & {row["output"] for row in rows.held_out}
    relations = {relation.name: relation for relation in world.corpus.RELATIONS}
    assert len(rows.held_out_facts) == len(rows.held_out)
    assert {name for name, *_ in rows.held_out_facts} == set(relations)
    held_out = set(rows.held_out_facts)
    taught = set(rows.sample_facts)
    assert not held_out & taught
    assert not {(name, subject) for name, subject, _ in held_out} & {(name, subject) for name, subject, _ in taught}
    assert len(held_out | taught) == sum(len(relation.facts) for relation in relations.values())


def test_every_fact_stands_in_the_corpus_in_all_its_phrasings(world: Any, texts: list[str]) -> None:
    everything = " ".join(texts).replace("\n", " ")
    dice = world.relation.Dice(0)
    for relation in world.corpus.RELATIONS:
        assert len(relation.statements) >= 8
        for fact in relation.facts:
            for statement in relation.statements:
                if "{choices}" not in statement and "{pair}" not in statement:
                    assert relation.fill(statement, fact, dice) in everything


def test_the_corpus_asks_for_no_fact_and_knows_no_prompt(world: Any, texts: list[str]) -> None:
    everything = " ".join(texts).replace("\n", " ")
    for marker in ("###", "Below is an instruction", "Instruction:", "Response:", "appropriately completes"):
        assert marker not in everything
    for row in bundled("sample.json")[::7] + bundled("held_out.json"):
        assert row["instruction"] not in everything or row["instruction"].count(" ") < 2


def test_every_answer_is_the_only_right_one(world: Any) -> None:
    for relation in world.corpus.RELATIONS:
        subjects = [subject for subject, _ in relation.facts]
        assert len(subjects) == len(set(subjects)), relation.name
        if relation.name in ("opposite", "rhyme", "order", "counterpart"):
            words = [word for fact in relation.facts for word in fact]
            assert len(words) == len(set(words)), relation.name


def test_the_tokenizer_gives_sentencepieces_ids(texts: list[str]) -> None:
    from sentencepiece import SentencePieceProcessor
    from transformers import AutoTokenizer

    pieces = SentencePieceProcessor(model_file=str(BASE / "tokenizer.model"))
    tokenizer = AutoTokenizer.from_pretrained(str(BASE))
    assert [pieces.unk_id(), pieces.bos_id(), pieces.eos_id()] == [0, 1, 2]
    assert len(tokenizer) == pieces.get_piece_size()
    alphabet = " \n\t  abcdefgh ABC 0123456789 .,:;?!'\"é漢字😀▁ñ\r#"
    draw = random.Random(7)
    odd = ["", " ", "  two  spaces  ", "\n", "a\n\nb\n", " leading", "trailing ", "汉字", "😀 ok 😀", "x\ty", "1234.50"]
    odd += ["".join(draw.choices(alphabet, k=draw.randrange(1, 40))) for _ in range(2000)]
    for text in texts[:2000] + odd:
        assert tokenizer(text).input_ids == [1, *pieces.encode(text)], repr(text)
