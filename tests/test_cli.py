"""The command line: what it takes, what it says to what it does not take, its exit codes, and that it starts light."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import alpaca_lora
from alpaca_lora.cli import main, read_command, run_reporting
from alpaca_lora.errors import Interrupted, UserError
from alpaca_lora.options import flatten

VERBS = ["demo", "plan", "finetune", "chat", "doctor", "data preview"]
FIXED_FLAGS = (
    "base_model base_revision data_path output_dir prompt_template_name cutoff_len train_on_inputs val_set_size "
    "batch_size num_epochs max_steps learning_rate lr_schedule warmup_steps weight_decay max_grad_norm lora_r "
    "lora_alpha lora_dropout lora_target_modules seed eval_steps save_steps save_total_limit logging_steps "
    "resume_from_checkpoint report_to dry_run"
)


def _settings(*words: str) -> dict[str, Any]:
    _, bound = read_command(list(words))
    bound.apply_defaults()
    return flatten(bound.arguments["config"])


def _refusal(*words: str) -> str:
    with pytest.raises(UserError) as error:
        read_command(list(words))
    return str(error.value)


def _run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(list(words))
    code = end.value.code
    assert isinstance(code, int)
    return code, *capsys.readouterr()


@pytest.fixture
def recipe(tmp_path: Path) -> Any:
    """Write a recipe; gives its path as a word of the command line."""

    def write(text: str | bytes) -> str:
        path = tmp_path / "recipe.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


# --- help --------------------------------------------------------------------------------------------------------


def test_help_of_every_verb_imports_no_heavy_library() -> None:
    """One process for all verbs: what any of them imported would still be there."""
    program = (
        "import sys\n"
        "from alpaca_lora.cli import main\n"
        f"for words in [[], *(verb.split() for verb in {VERBS!r})]:\n"
        "    try:\n"
        "        main([*words, '--help'])\n"
        "    except SystemExit as end:\n"
        "        assert end.code == 0, words\n"
        "heavy = {'torch', 'transformers', 'peft', 'accelerate', 'datasets', 'numpy', 'matplotlib', 'yaml'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Learn magnitude and direction apart" in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_help_lists_each_of_the_verbs_settings_with_its_meaning(verb: str, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    code, out, err = _run(capsys, *verb.split(), "--help")
    assert (code, err) == (0, "")
    missing = [name for name in _settings(*verb.split()) if f"--{name} " not in out]
    assert missing == []


def test_the_flags_whose_names_are_fixed_exist() -> None:
    assert set(FIXED_FLAGS.split()) - set(_settings("finetune")) == set()


def test_no_words_show_the_verbs(capsys: Any) -> None:
    code, out, _ = _run(capsys)
    assert code == 0
    assert all(verb.split()[0] in out for verb in VERBS)


def test_the_version_is_the_packages(capsys: Any) -> None:
    assert _run(capsys, "--version") == (0, f"{alpaca_lora.__version__}\n", "")


# --- flags -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--lora_r 4", {"lora_r": 4}),
        ("--lora-r 4", {"lora_r": 4}),
        ("--lora_r=4 --learning-rate=1e-3", {"lora_r": 4, "learning_rate": 1e-3}),
        ("--train_on_inputs", {"train_on_inputs": True}),
        ("--train_on_inputs=False", {"train_on_inputs": False}),
        ("--no-train_on_inputs", {"train_on_inputs": False}),
        ("--no_train_on_inputs", {"train_on_inputs": False}),
        ("--lora_target_modules q_proj v_proj --seed 1", {"lora_target_modules": ("q_proj", "v_proj"), "seed": 1}),
        ("--report_to wandb trackio", {"report_to": ("wandb", "trackio")}),
        ("--warmup_steps 0.5 --max_steps 7", {"warmup_steps": 0.5, "max_steps": 7}),
    ],
)
def test_flags_are_read(words: str, expected: dict[str, Any]) -> None:
    settings = _settings("finetune", *words.split())
    assert settings == _settings("finetune") | expected


def test_plan_takes_the_settings_of_finetune() -> None:
    assert _settings("plan", "--lora_r", "4") == _settings("finetune", "--lora_r", "4")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("finetune --lora_rr 8", "Unknown option: --lora_rr. Did you mean --lora_r?"),
        ("finetune --lora-rr 8", "Did you mean --lora_r?"),
        ("finetune --lora_r 8.5", "Invalid value for --lora_r: '8.5' is not a whole number"),
        ("finetune --learning_rate fast", 'Invalid value for --learning_rate: unable to convert "fast"'),
        ("finetune --dtype float63", 'Choose from: "auto", "float32"'),
        ("finetune --lora_r 0", "fix: give --lora_r a value of at least 1"),
        ("finetune --lora_r 4 --lora_r 8", "--lora_r specified multiple times"),
        ("finetune --lora_r", "--lora_r needs a value\n  fix: --lora_r VALUE"),
        ("chat --prompt --what", "one that begins with a dash: --prompt=VALUE"),
        (
            "finetune rows.json",
            "'rows.json' belongs to no flag\n  fix: write settings as --flag value; alpaca-lora finetune",
        ),
        ("data preview rows.json", "alpaca-lora data preview --help lists them"),
        (
            "finetune --lora_r 8 mine.yaml",
            "fix: a recipe follows the verb: alpaca-lora finetune mine.yaml --flag value",
        ),
        ("finetune --train_on_inputs False", "fix: --train_on_inputs=False"),
        ("fintune", 'Unknown command "fintune". Did you mean "finetune"?'),
        ("data prview", 'Did you mean "preview"?'),
        ("--lora_r 8", "fix: alpaca-lora --help"),
    ],
)
def test_what_is_not_taken_is_answered_with_what_to_type(words: str, message: str) -> None:
    assert message in _refusal(*words.split())


def test_a_value_may_begin_with_a_dash() -> None:
    assert _settings("chat", "--prompt=-5 + 3?")["prompt"] == "-5 + 3?"


# --- recipes -----------------------------------------------------------------------------------------------------


def test_a_recipe_lies_below_the_flags(recipe: Any) -> None:
    text = (
        "# how it was run\nlearning_rate: 1e-3\nmax_steps: null\nlora_target_modules: [q_proj, v_proj]\n"
        "train_on_inputs: true\nlora_r: 4\nbase_revision: 12\nreport_to: []\n"
    )
    expected = {
        "learning_rate": 1e-3,
        "max_steps": None,
        "lora_target_modules": ("q_proj", "v_proj"),
        "train_on_inputs": True,
        "lora_r": 6,
        "base_revision": "12",
        "report_to": (),
    }
    settings = _settings("finetune", recipe(text), "--lora-r", "6")
    assert settings == _settings("finetune") | expected


def test_a_recipe_changes_nothing_for_the_next_command(recipe: Any) -> None:
    _settings("finetune", recipe("lora_r: 4"))
    assert _settings("finetune")["lora_r"] == 16


def test_every_verb_takes_a_recipe(recipe: Any) -> None:
    assert _settings("data", "preview", recipe("rows: 2"))["rows"] == 2
    assert _settings("chat", recipe("adapter: [a, b]\nprompt: hi"))["adapter"] == ("a", "b")
    assert _settings("plan", recipe(""))["lora_r"] == 16
    assert _settings("demo", recipe("seed: 3"), "--output_dir", "x") == {"output_dir": "x", "seed": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lora_rr: 8", "the recipe has an unknown key 'lora_rr'; did you mean 'lora_r'?"),
        ("rows: 2", "the recipe has an unknown key 'rows'"),
        ("1: 2", "the recipe has an unknown key 1"),
        ("lora_r: 8.5", "Invalid value for lora_r: '8.5' is not a whole number\n  where: "),
        ("lora_r: [1, 2]", 'Invalid value for lora_r: unable to convert "[1, 2]" into int'),
        ("dtype: float63", 'Invalid value "float63" for dtype. Choose from: "auto"'),
        ("base_model: null", "Invalid value for base_model"),
        ("train_on_inputs: maybe", 'Invalid value for train_on_inputs: unable to convert "maybe" into bool'),
        ("lora_r: 0", "fix: give --lora_r a value of at least 1"),
        ("lora:\n  lora_r: 4", "'lora' holds settings of its own; a recipe is flat"),
        ("seed: 1\nlora_r: 4\nseed: 2", "the recipe gives 'seed' twice\n  where: "),
        ("- 1", "the recipe is not a list of `flag: value` lines"),
        ("false", "the recipe is not a list of `flag: value` lines"),
        ("a: b: c", "the recipe is not YAML"),
        (b"\xff\xfe\x00", "the recipe is not YAML"),
    ],
)
def test_a_recipe_that_cannot_be_used_is_refused(text: str | bytes, message: str, recipe: Any) -> None:
    found = _refusal("finetune", recipe(text))
    assert message in found
    assert "recipe.yaml" in found or "--lora_r is 0" in found


def test_a_line_of_the_recipe_is_named(recipe: Any) -> None:
    assert "recipe.yaml:3" in _refusal("finetune", recipe("seed: 1\nlora_r: 4\nseed: 2"))


def test_a_missing_recipe_is_refused(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in _refusal("finetune", str(tmp_path / "nowhere.yaml"))
    (tmp_path / "folder.yaml").mkdir()
    assert "cannot be read: Is a directory" in _refusal("finetune", str(tmp_path / "folder.yaml"))


# --- exit codes --------------------------------------------------------------------------------------------------


def test_what_a_user_can_mend_exits_with_2_and_no_traceback(capsys: Any) -> None:
    code, out, err = _run(capsys, "finetune", "--lora_rr", "8")
    assert (code, out) == (2, "")
    assert err == "error: Unknown option: --lora_rr. Did you mean --lora_r?\n  fix: alpaca-lora finetune --help\n"


def test_so_does_what_a_verb_finds(capsys: Any) -> None:
    code, out, err = _run(capsys, "chat", "--prompt", "hi")
    assert (code, out) == (2, "")
    assert err.startswith("error: no base model given\n  fix: --base_model")


@pytest.mark.parametrize(
    ("raised", "expected"),
    [(UserError("x"), 2), (KeyboardInterrupt(), 130), (Interrupted(15, 3), 143), (Interrupted(2, 3), 130)],
)
def test_each_ending_has_its_code(raised: BaseException, expected: int) -> None:
    def call() -> None:
        raise raised

    assert run_reporting(call) == expected
    assert run_reporting(lambda: None) == 0


def test_what_nobody_expected_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_reporting(lambda: 1 / 0)


PRINTING = "from alpaca_lora.cli import run_reporting; raise SystemExit(run_reporting(lambda: print('x')))"


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("words", "code"),
    [(["-c", PRINTING], 141), (["-m", "alpaca_lora", "--help"], 1)],  # rich, which prints the help, has its own code
    ids=["print", "help"],
)
def test_a_reader_that_has_gone_ends_it_quietly(words: list[str], code: int, unbuffered: str) -> None:
    process = subprocess.Popen(
        [sys.executable, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
    )
    assert process.stdout
    process.stdout.close()  # as `head` does, before anything is written
    assert process.stderr
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == code
