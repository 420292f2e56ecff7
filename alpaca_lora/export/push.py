"""Upload a verified export to the Hugging Face Hub: asked beforehand whether that is allowed, then one commit."""

from __future__ import annotations

import re
import shlex
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from alpaca_lora.errors import UserError
from alpaca_lora.hub import answered_status, causes, last_line

_LOG_IN = "hf auth login, with a token of the type Write from https://huggingface.co/settings/tokens"
_WEIGHTS = re.compile(
    r"(model|pytorch_model|adapter_model)(-\d+-of-\d+)?\.(safetensors|bin)(\.index\.json)?|adapter_config\.json"
)
_NAMED_FILES = 4


def check_push(repo_id: str) -> None:
    """Ask, before anything long is done, whether this machine's token may write to a repository; raise `UserError`.

    Checks what the Hub tells about a token: its role, the namespaces of its owner, a fine-grained token's scopes. The
    Hub itself decides when the repository is made. Nothing is made here.
    """
    from huggingface_hub import HfApi, get_token, is_offline_mode
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise _ill_formed(repo_id, str(error).splitlines()[0]) from error
    if "/" not in repo_id:
        raise _ill_formed(repo_id, "it lacks the owner, your user name or an organisation")
    if is_offline_mode():
        raise UserError(
            f"nothing can be uploaded to {repo_id}: HF_HUB_OFFLINE forbids it",
            fix="run it with HF_HUB_OFFLINE=0, or leave --push_to_hub out",
        )
    token = get_token()
    if not token:
        raise UserError(
            f"nothing can be uploaded to {repo_id}: this machine has no token for the Hub",
            fix=f"{_LOG_IN}; or leave --push_to_hub out",
        )
    with _push_errors(repo_id, None):
        answer: dict[str, Any] = HfApi(token=token).whoami()
    _refuse_forbidden(repo_id, answer)


def push_folder(folder: Path, repo_id: str, *, console: Console) -> str:
    """Upload an export's folder in one commit and return the commit's URL.

    The repository is made, private, where it does not exist; one that exists keeps its visibility and the files that
    the export does not replace. It is refused where its weights would be mixed with the export's.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    api = HfApi(token=get_token())
    with _push_errors(repo_id, folder):
        api.create_repo(repo_id, private=True, exist_ok=True)
        there = api.model_info(repo_id)
        _refuse_mixture(repo_id, folder, {file.rfilename for file in there.siblings or []} - names.keys())
        # `upload_folder` commits what has arrived every five minutes: a large model would be seen in part.
        commit = api.create_commit(
            repo_id,
            operations=[CommitOperationAdd(name, path) for name, path in names.items()],
            commit_message="Upload an export of Alpaca-LoRA",
        )
    seen = "private" if there.private else "public"
    line = f"pushed  {repo_id} ({seen}, {len(names)} files): {commit.commit_url}"
    console.print(line, highlight=False, markup=False, soft_wrap=True)
    return commit.commit_url


def _ill_formed(repo_id: str, why: str) -> UserError:
    return UserError(
        f"{repo_id!r} is no id of a repository on the Hub",
        why=why,
        fix="give --push_to_hub OWNER/NAME, such as me/model",
    )


def _refuse_forbidden(repo_id: str, answer: dict[str, Any]) -> None:
    """Stop where the answer to `whoami` says that the token may not write there."""
    owner, name = repo_id.split("/")
    user = str(answer.get("name", ""))
    access = (answer.get("auth") or {}).get("accessToken") or {}
    if access.get("role") == "read":
        raise UserError(
            f"nothing can be uploaded to {repo_id}: the token {access.get('displayName', '')} of {user} may only read",
            fix=_LOG_IN,
        )
    scopes = (access.get("fineGrained") or {}).get("scoped") if access.get("role") == "fineGrained" else None
    if scopes is not None:
        wanted = {owner.lower(), repo_id.lower()}
        if any(_name(scope) in wanted and "repo.write" in (scope.get("permissions") or []) for scope in scopes):
            return
        raise UserError(
            f"the fine-grained token of {user} may not write to {repo_id}",
            fix=f"give it write access to the repositories of {owner}; or {_LOG_IN}",
        )
    may_write = {user: True} | {org["name"]: org.get("roleInOrg") != "read" for org in answer.get("orgs") or []}
    known = {namespace.lower(): may for namespace, may in may_write.items()}
    if not known.get(owner.lower()):
        reason = "your role there only reads" if owner.lower() in known else "that is another user or organisation"
        yours = [namespace for namespace, may in may_write.items() if may]
        raise UserError(
            f"{user} may not write to {repo_id}: {reason}",
            fix=f"give --push_to_hub a name of {' or '.join(yours)}, such as {user}/{name}",
        )


def _name(scope: dict[str, Any]) -> str:
    return str((scope.get("entity") or {}).get("name", "")).lower()


def _refuse_mixture(repo_id: str, folder: Path, others: set[str]) -> None:
    stale = sorted(name for name in others if _WEIGHTS.fullmatch(name))
    if not stale:
        return
    more = f" and {len(stale) - _NAMED_FILES} more" if len(stale) > _NAMED_FILES else ""
    delete = f"hf repos delete-files {repo_id} {' '.join(stale)}"
    raise UserError(
        f"{repo_id} holds weights that are not of this export: {', '.join(stale[:_NAMED_FILES])}{more}",
        where=f"nothing was uploaded; the export is safe in {folder}",
        why="programs would load them instead of the export, or together with it",
        fix=f"{_repeat('OWNER/NEW-NAME', folder)}; or {delete}, then {_repeat(repo_id, folder)}",
    )


def _repeat(repo_id: str, folder: Path) -> str:
    return f"hf upload {repo_id} {shlex.quote(str(folder))} --private"


@contextmanager
def _push_errors(repo_id: str, folder: Path | None) -> Generator[None]:
    """Translate what the Hub's client raises; `folder` is what is being uploaded, None while asking only."""
    try:
        yield
    except UserError:
        raise
    except KeyboardInterrupt as stop:
        if folder is None:
            raise
        raise UserError(
            f"the upload to {repo_id} was interrupted",
            where=f"the export is safe in {folder}",
            fix=_repeat(repo_id, folder),
        ) from stop
    except Exception as error:  # the client, its HTTP library and hf_xet each raise their own
        raise _explain(error, repo_id, folder) from error


def _explain(error: Exception, repo_id: str, folder: Path | None) -> UserError:
    chain = causes(error)
    status = answered_status(chain)
    is_refused = status in (401, 403)
    told = (str(getattr(cause, "server_message", None) or "") for cause in chain)
    reason = next((f"{text.splitlines()[0]} (HTTP status {status})" for text in told if text), last_line(chain))
    if folder is None and is_refused:
        return UserError(
            f"the Hub refuses your access token, so nothing can be uploaded to {repo_id}",
            why=reason,
            fix=f"{_LOG_IN}; where HF_TOKEN is set, it is the one that counts",
        )
    if folder is None:
        return UserError(
            f"the Hub did not say whether you may write to {repo_id}: {reason}",
            fix="run it again when the Hub can be reached, or leave --push_to_hub out",
        )
    return UserError(
        f"the Hub refuses the upload to {repo_id}" if is_refused else f"the upload to {repo_id} failed: {reason}",
        where=f"the export is safe in {folder}",
        why=reason if is_refused else "",
        fix=f"{_LOG_IN}, then: {_repeat(repo_id, folder)}" if is_refused else _repeat(repo_id, folder),
    )
