"""Fetch models, adapters and data sets from the Hugging Face Hub; every way that fails is one clear `UserError`."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

from alpaca_lora.errors import UserError

RepoKind = Literal["model", "adapter", "dataset"]

_FLAGS: dict[RepoKind, str] = {"model": "--base_model", "adapter": "--adapter", "dataset": "--data_path"}
_NAMES: dict[RepoKind, str] = {"model": "model", "adapter": "adapter", "dataset": "data set"}

# *.py is the code of models that bring their own; it lies there unless --trust_remote_code runs it.
_TEXT_FILES = ("*.json", "*.jinja", "*.model", "*.txt", "*.py", "README.md", "LICENSE*", "NOTICE*")
_ROW_FILES = (
    "*.parquet",
    *(f"*.{kind}{zipped}" for kind in ("json", "jsonl", "csv") for zipped in ("", ".gz", ".zst")),
)
_NOT_THE_BASE = ("*/*", "adapter_*", "consolidated*")
"""Left out of a base model: other formats of the same weights in folders, adapters, Meta's and Mistral's own format."""

_TAKE_ONE_FILE = "hf download {} --repo-type dataset --local-dir data, then give --data_path the file you want"


class Snapshot(NamedTuple):
    """A repository's files on this machine, and the commit they are of."""

    folder: Path
    commit: str


def fetch_model(repo_id: str, revision: str | None) -> Snapshot:
    """Download a base model's weights, config and tokenizer, or take them from the cache.

    Pickled weights (`pytorch_model*.bin`) are fetched only where there are no safetensors. A connection that breaks
    is taken up again where it broke; offline, what the cache holds is used. Files are checked for being there, not
    for what is in them.
    """
    snapshot = _snapshot(repo_id, revision, "model", (*_TEXT_FILES, "*.safetensors"), _NOT_THE_BASE)
    if not (snapshot.folder / "config.json").is_file():
        raise UserError(
            f"{repo_id} is no base model: it has no config.json",
            why="a base model holds its architecture in config.json; an adapter or a GGUF file is something else",
            fix=f"give --base_model another id; if {repo_id} is an adapter, give it to --adapter",
        )
    if not any(snapshot.folder.glob("*.safetensors")):
        pickled = (*_TEXT_FILES, "pytorch_model*.bin", "pytorch_model*.bin.index.json")
        snapshot = _snapshot(repo_id, snapshot.commit, "model", pickled, _NOT_THE_BASE)
    return snapshot


def fetch_adapter(repo_id: str, revision: str | None = None) -> Snapshot:
    """Download an adapter's weights, config and tokenizer, or take them from the cache; pickles as in `fetch_model`."""
    snapshot = _snapshot(repo_id, revision, "adapter", (*_TEXT_FILES, "adapter_model.safetensors"), ("*/*",))
    if not (snapshot.folder / "adapter_config.json").is_file():
        raise UserError(
            f"{repo_id} is no adapter: it has no adapter_config.json",
            fix=f"give --adapter another id; if {repo_id} is a whole model, give it to --base_model",
        )
    if not (snapshot.folder / "adapter_model.safetensors").is_file():
        snapshot = _snapshot(repo_id, snapshot.commit, "adapter", (*_TEXT_FILES, "adapter_model.bin"), ("*/*",))
    return snapshot


def read_hub_rows(repo_id: str) -> list[dict[str, Any]]:
    """Read the train split of a Hub data set.

    The files are fetched like a model's, so that breaks, renames and the offline cache behave alike, and `datasets`
    reads them from disk: asked to read the Hub itself, it takes 23 s to notice that it is not there.
    """
    if find_spec("datasets") is None:
        raise UserError(
            f"reading the Hub data set {repo_id} needs the package datasets",
            fix="pip install 'alpaca-lora[data]', or give --data_path a file",
        )
    _refuse_several_parts(repo_id)
    folder, commit = _snapshot(repo_id, None, "dataset", ("README.md", *_ROW_FILES))
    if not any(True for pattern in _ROW_FILES for _ in folder.rglob(pattern)):
        raise UserError(
            f"the data set {repo_id} holds no JSON, CSV or Parquet file", fix="give --data_path another id or a file"
        )
    from datasets import load_dataset

    with _hub_errors(repo_id, commit, "dataset"):
        splits = load_dataset(str(folder))
    if "train" not in splits:
        raise UserError(
            f"the data set {repo_id} has no train split, only {', '.join(map(str, splits))}",
            fix=_TAKE_ONE_FILE.format(repo_id),
        )
    return splits["train"].to_list()


def _refuse_several_parts(repo_id: str) -> None:
    """Stop before gigabytes are fetched of a data set that has several parts, none of them the default."""
    from huggingface_hub import metadata_load

    # Every repository has .gitattributes; where nothing matches, the client prints a warning.
    readme = _snapshot(repo_id, None, "dataset", ("README.md", ".gitattributes")).folder / "README.md"
    if not readme.is_file():
        return
    with _hub_errors(repo_id, None, "dataset"):
        parts = [part for part in (metadata_load(readme) or {}).get("configs") or [] if isinstance(part, dict)]
    names = [str(part.get("config_name")) for part in parts]
    if len(parts) > 1 and "default" not in names and not any(part.get("default") for part in parts):
        raise UserError(
            f"the data set {repo_id} has {len(names)} parts, none of them the default: {', '.join(names)}",
            fix=_TAKE_ONE_FILE.format(repo_id),
        )


def _snapshot(
    repo_id: str, revision: str | None, kind: RepoKind, wanted: Sequence[str], unwanted: Sequence[str] = ()
) -> Snapshot:
    from huggingface_hub import snapshot_download

    with _hub_errors(repo_id, revision, kind):
        folder = snapshot_download(
            repo_id,
            repo_type="dataset" if kind == "dataset" else "model",
            revision=revision,
            allow_patterns=list(wanted),
            ignore_patterns=list(unwanted),
        )
    return Snapshot(Path(folder), Path(folder).name)


@contextmanager
def _hub_errors(repo_id: str, revision: str | None, kind: RepoKind) -> Generator[None]:
    """Translate whatever the Hub clients raise, by walking the chain of causes."""
    try:
        yield
    except Exception as error:
        raise _explain(error, repo_id, revision, kind) from error


def _explain(error: Exception, repo_id: str, revision: str | None, kind: RepoKind) -> UserError:
    import huggingface_hub.errors as hub

    flag, chain = _FLAGS[kind], causes(error)
    if _any(chain, hub.GatedRepoError):
        page = f"the page of the {_NAMES[kind]} on the Hub"
        return UserError(
            f"{repo_id} is gated: its owner asks you to accept terms first",
            fix=f"accept them on {page}, then: hf auth login",
        )
    if _any(chain, hub.RevisionNotFoundError):
        return UserError(
            f"{repo_id} has no revision {revision or 'main'}", fix="give --base_revision a branch, tag or commit of it"
        )
    if _any(chain, hub.RepositoryNotFoundError):
        return UserError(
            f"there is no {_NAMES[kind]} {repo_id} on the Hub, or it is private and you may not read it",
            fix=f"check the name given to {flag} (no local path of that name exists either); if private: hf auth login",
        )
    if _any(chain, hub.HFValidationError):
        return UserError(f"{repo_id!r} is neither a local path nor a Hub id", fix=f"give {flag} a path or OWNER/NAME")
    if answered_status(chain) in (401, 403):
        return UserError(
            f"the Hub refuses your access token for {repo_id}",
            why=last_line(chain),
            fix="hf auth login with a valid token, or unset HF_TOKEN",
        )
    return _explain_unreachable(chain, repo_id, kind)


def _explain_unreachable(chain: list[BaseException], repo_id: str, kind: RepoKind) -> UserError:
    import huggingface_hub.errors as hub
    from huggingface_hub import is_offline_mode

    missing = hub.LocalEntryNotFoundError, hub.OfflineModeIsEnabled
    if _any(chain, *missing) and is_offline_mode():
        return UserError(
            f"{repo_id} is not in the local cache, or not all of it, and HF_HUB_OFFLINE forbids to fetch it",
            fix=f"run once with HF_HUB_OFFLINE=0, or give {_FLAGS[kind]} a local path",
        )
    clients = ("httpx2", "httpcore2", "httpx", "httpcore")
    if _any(chain, *missing, ConnectionError, TimeoutError) or any(
        type(cause).__module__.split(".")[0] in clients for cause in chain
    ):
        return UserError(
            f"{repo_id} could not be fetched: {last_line(chain)}",
            why="the Hub cannot be reached or broke off, and the local cache does not hold all of it",
            fix=f"run the same command again (files that arrived are kept), or give {_FLAGS[kind]} a local path",
        )
    return UserError(
        f"the {_NAMES[kind]} {repo_id} could not be read: {type(chain[-1]).__name__}: {last_line(chain)}",
        fix=f"give {_FLAGS[kind]} another id or a local path",
    )


def causes(error: BaseException | None) -> list[BaseException]:
    """List an error and what led to it, the deepest cause last."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def _any(chain: list[BaseException], *kinds: type[BaseException]) -> bool:
    return any(isinstance(cause, kinds) for cause in chain)


def answered_status(chain: list[BaseException]) -> int:
    """Give the HTTP status the Hub answered with, 0 where it did not."""
    answers = [getattr(cause, "response", None) for cause in chain]
    return next((int(answer.status_code) for answer in answers if answer is not None), 0)


def last_line(chain: list[BaseException]) -> str:
    """Give the first line of the deepest cause: the one that names the thing that went wrong."""
    lines = [line for line in str(chain[-1]).splitlines() if line.strip()] or [type(chain[-1]).__name__]
    return lines[0].strip()[:200]
