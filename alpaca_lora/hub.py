"""Fetch models, adapters and data sets from the Hugging Face Hub; every way that fails becomes one clear `UserError`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from alpaca_lora.errors import UserError

RepoKind = Literal["model", "dataset"]

_MODEL_FILES = ["*.json", "*.jinja", "*.model", "*.safetensors", "*.txt"]
_ADAPTER_FILES = ["*.json", "*.jinja", "*.model", "adapter_model.*"]


def fetch_model(repo_id: str, revision: str | None) -> tuple[Path, str]:
    """Download a base model's safetensors, config and tokenizer; return its folder and the commit it is at.

    Downloads that broke off go on where they stopped. Offline, what the cache holds is used. Repositories that hold
    only pickled weights (`pytorch_model*.bin`) are fetched too, but read with `weights_only=True`.
    """
    folder = _snapshot(repo_id, revision, _MODEL_FILES)
    if not any(folder.glob("*.safetensors")):
        folder = _snapshot(repo_id, revision, [*_MODEL_FILES, "pytorch_model*.bin*"])
    return folder, folder.name


def fetch_adapter(repo_id: str) -> Path:
    """Download an adapter's weights, config and tokenizer; return its folder."""
    return _snapshot(repo_id, None, _ADAPTER_FILES)


def read_hub_rows(repo_id: str) -> list[dict[str, Any]]:
    """Read the train split of a Hub data set through `datasets`."""
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            f"reading the Hub data set {repo_id} needs the package datasets",
            fix="pip install 'alpaca-lora[data]', or give --data_path a file",
        ) from error
    with _hub_errors(repo_id, None, "dataset"):
        splits = datasets.load_dataset(repo_id)
    if "train" not in splits:
        raise UserError(f"the data set {repo_id} has no train split, only {', '.join(splits)}")
    return splits["train"].to_list()


def _snapshot(repo_id: str, revision: str | None, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    with _hub_errors(repo_id, revision, "model"):
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=patterns))


@contextmanager
def _hub_errors(repo_id: str, revision: str | None, kind: RepoKind) -> Iterator[None]:
    """Translate whatever the Hub clients raise, by walking the chain of causes."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise _explain(error, repo_id, revision, kind) from error


def _explain(error: BaseException, repo_id: str, revision: str | None, kind: RepoKind) -> UserError:
    import huggingface_hub.errors as hub

    flag = "--base_model or --adapter" if kind == "model" else "--data_path"
    chain = _causes(error)
    if _any(chain, hub.GatedRepoError):
        return UserError(
            f"{repo_id} is gated: its owner asks you to accept terms first",
            fix=f"accept them on the page of {repo_id}, then: hf auth login",
        )
    if _any(chain, hub.RevisionNotFoundError):
        return UserError(f"{repo_id} has no revision {revision}", fix="give --base_revision a branch, tag or commit")
    if _any(chain, hub.RepositoryNotFoundError) or type(error).__name__ == "DatasetNotFoundError":
        return UserError(
            f"there is no {kind} {repo_id} on the Hub, or it is private and you are not logged in",
            fix=f"check the name given to {flag} (no local path of that name exists either); if private: hf auth login",
        )
    if _any(chain, hub.HFValidationError):
        return UserError(f"{repo_id!r} is neither a local path nor a Hub id", fix=f"give {flag} a path or OWNER/NAME")
    if _any(chain, hub.LocalEntryNotFoundError, hub.OfflineModeIsEnabled, ConnectionError, TimeoutError) or any(
        type(cause).__module__.split(".")[0] in ("requests", "httpx", "httpcore", "aiohttp") for cause in chain
    ):
        return UserError(
            f"{repo_id} could not be fetched: {_last_line(chain)}",
            why="the Hub cannot be reached, or the connection broke, and the local cache does not hold all of it",
            fix="run the same command again (a broken download goes on where it stopped), or give a local path",
        )
    return UserError(f"{repo_id} could not be read: {type(error).__name__}: {_last_line(chain)}")


def _causes(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def _any(chain: list[BaseException], *kinds: type[BaseException]) -> bool:
    return any(isinstance(cause, kinds) for cause in chain)


def _last_line(chain: list[BaseException]) -> str:
    lines = [line for line in str(chain[-1]).splitlines() if line.strip()] or [type(chain[-1]).__name__]
    return lines[0].strip()[:200]
