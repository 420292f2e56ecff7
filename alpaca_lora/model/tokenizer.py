"""Load the tokenizer of a model folder so that its ids are the model's own, and mend what old uploads got wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from tokenizers import AddedToken, Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from alpaca_lora.data.encoder import tokenizer_fingerprint
from alpaca_lora.data.segments import adds_bos
from alpaca_lora.errors import UserError
from alpaca_lora.model.sentencepiece import FIX, from_sentencepiece, open_sentencepiece

__all__ = ["adds_bos", "from_sentencepiece", "load_tokenizer", "tokenizer_fingerprint"]

_STANDARD = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
_PROBES = ("Hello  world", " a", "  b", "\n\tx = 1\r\n", "Grüße, 你好 🙂", "3.14 <|x|> [y]", "a▁b", "\u200b\ufeff")
_KEPT_SETTINGS = ("model_max_length", "padding_side", "chat_template", "clean_up_tokenization_spaces")


@dataclass(frozen=True)
class _Folder:
    """What a folder says about its tokenizer. `notes` collects what is mended."""

    path: Path
    settings: dict[str, Any]
    names: dict[str, str | None]
    """Special tokens by role; None where the folder says that there is none."""
    declared_eos: list[int]
    """End-of-sequence ids that the model's own configuration names."""
    rows: int | None
    """Rows of the model's embedding, where its configuration is here."""
    notes: list[str] = field(default_factory=list)


def load_tokenizer(folder: str | Path, *, trust_remote_code: bool = False) -> tuple[PreTrainedTokenizerFast, list[str]]:
    """Load the tokenizer of a local folder; the notes say, a line each, what was found wrong and mended.

    `tokenizer.json` rules as it stands, whatever class the folder names: transformers 5.23 rebuilds some classes by
    rules of its own, with other ids. With `tokenizer.model` alone, or where the two disagree, the SentencePiece model
    rules. Padding is given a token that the model has: a new one would have no row in the embedding.
    """
    known = _read_folder(Path(folder))
    runs_code = trust_remote_code and "auto_map" in known.settings
    backend = None if runs_code else _find_backend(known)
    tokenizer = _load_by_class(known, trust_remote_code) if backend is None else _wrap(backend, known)
    return tokenizer, known.notes


def _load_by_class(folder: _Folder, trust_remote_code: bool) -> PreTrainedTokenizerFast:
    """Let transformers, or the folder's own code, build the backend; what it does outside of that is refused."""
    try:
        built: Any = AutoTokenizer.from_pretrained(folder.path, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise UserError(
            f"transformers cannot build this tokenizer: {error}", where=str(folder.path), fix=FIX
        ) from error
    if isinstance(built, PreTrainedTokenizerFast):
        for role, token in built.special_tokens_map.items():
            folder.names.setdefault(role, token)
        tokenizer = _wrap(built.backend_tokenizer, folder)
        if all(tokenizer(probe)["input_ids"] == built(probe)["input_ids"] for probe in _PROBES):
            return tokenizer
    raise UserError(
        f"{type(built).__name__} encodes in Python, where rows cannot be encoded piece by piece",
        where=str(folder.path),
        fix=FIX,
    )


# --- the folder --------------------------------------------------------------------------------------------------


def _read_folder(path: Path) -> _Folder:
    settings = _read_json(path / "tokenizer_config.json")
    # transformers reads the old map only where the newer list of added tokens is absent
    older = {} if "added_tokens_decoder" in settings else _read_json(path / "special_tokens_map.json")
    template = path / "chat_template.jinja"
    if template.is_file():
        settings["chat_template"] = template.read_text(encoding="utf-8")
    named: dict[str, Any] = {key: value for key, value in {**settings, **older}.items() if key.endswith("_token")}
    names = {key: value["content"] if isinstance(value, dict) else value for key, value in named.items()}
    config = _read_json(path / "config.json")
    eos: list[int] = []
    for declared in (config.get("eos_token_id"), _read_json(path / "generation_config.json").get("eos_token_id")):
        eos += declared if isinstance(declared, list) else [] if declared is None else [declared]
    return _Folder(path, settings, names, eos, config.get("vocab_size"))


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"the file is not JSON: {error}", where=str(path), fix="download the file again") from error
    return content


def _find_backend(folder: _Folder) -> Tokenizer | None:
    """Build the backend from `tokenizer.json` or `tokenizer.model`; None where only vocabulary and merges are here."""
    fast, model = folder.path / "tokenizer.json", folder.path / "tokenizer.model"
    if fast.is_file():
        try:
            backend = Tokenizer.from_file(str(fast))
        except Exception as error:  # the backend raises plain Exception
            raise UserError(f"tokenizer.json is broken: {error}", where=str(fast), fix="download it again") from error
        backend = _compare_with_sentencepiece(backend, model, folder)
    elif model.is_file():
        backend = _rebuild(model, folder)
    elif (folder.path / "vocab.json").is_file() and (folder.path / "merges.txt").is_file():
        return None
    else:
        raise UserError(
            "the folder has no tokenizer",
            where=str(folder.path),
            why="looked for tokenizer.json, tokenizer.model, and vocab.json with merges.txt",
            fix="--trust_remote_code true, for it comes with code of its own"
            if "auto_map" in folder.settings
            else "copy the tokenizer files of the base model into it",
        )
    added = _added_tokens(folder)
    rowless = {index for index in added if index >= (folder.rows or index + 1)}
    if rowless:
        folder.notes.append(f"left out added tokens without a row in the model: ids {sorted(rowless)}")
    _add_tokens(backend, {index: token for index, token in added.items() if index not in rowless})
    return backend


def _rebuild(model: Path, folder: _Folder) -> Tokenizer:
    backend = from_sentencepiece(model, bos=folder.settings.get("add_bos_token") is not False)
    processor = open_sentencepiece(model)
    ids = {
        "bos_token": processor.bos_id(),
        "eos_token": processor.eos_id(),
        "unk_token": processor.unk_id(),
        "pad_token": processor.pad_id(),
    }
    for role, index in ids.items():
        if index >= 0:
            folder.names.setdefault(role, processor.id_to_piece(index))
    return backend


def _compare_with_sentencepiece(backend: Tokenizer, model: Path, folder: _Folder) -> Tokenizer:
    """Keep tokenizer.json where it encodes as the SentencePiece model beside it does; else rebuild it from that."""
    processor = open_sentencepiece(model) if model.is_file() else None
    if processor is None:
        return backend
    pieces = processor.vocab_size()
    if any(backend.token_to_id(processor.id_to_piece(index)) != index for index in range(pieces)):
        folder.notes.append("tokenizer.json and tokenizer.model are different vocabularies: tokenizer.json is used")
        return backend
    ids = [backend.encode(probe, add_special_tokens=False).ids for probe in _PROBES]
    differing = [probe for probe, found in zip(_PROBES, ids, strict=True) if found != processor.encode(probe)]
    if not differing:
        return backend
    finding = f"tokenizer.json encodes {differing[0]!r} otherwise than tokenizer.model"
    try:
        rebuilt = _rebuild(model, folder)
    except UserError as error:
        folder.notes.append(f"{finding}, which cannot replace it ({error.what}): tokenizer.json is used")
        return backend
    _add_tokens(rebuilt, {i: token for i, token in backend.get_added_tokens_decoder().items() if i >= pieces})
    folder.notes.append(f"{finding}: rebuilt from tokenizer.model")
    return rebuilt


def _added_tokens(folder: _Folder) -> dict[int, AddedToken]:
    listed: dict[str, Any] = folder.settings.get("added_tokens_decoder", {})
    if listed:
        return {int(index): AddedToken(**token) for index, token in listed.items()}
    older = _read_json(folder.path / "added_tokens.json")
    special = set(folder.names.values())
    return {
        index: AddedToken(text, special=text in special, normalized=text not in special)
        for text, index in older.items()
    }


def _add_tokens(backend: Tokenizer, tokens: dict[int, AddedToken]) -> None:
    missing = {index: token for index, token in sorted(tokens.items()) if backend.token_to_id(token.content) is None}
    backend.add_tokens(list(missing.values()))
    for index, token in missing.items():
        found = backend.token_to_id(token.content)
        if found != index:
            raise UserError(
                f"the added token {token.content!r} should have id {index}, but the next free one is {found}", fix=FIX
            )


# --- special tokens ----------------------------------------------------------------------------------------------


def _wrap(backend: Tokenizer, folder: _Folder) -> PreTrainedTokenizerFast:
    specials = _mend_specials(backend, folder)
    more = folder.settings.get("extra_special_tokens") or folder.settings.get("additional_special_tokens") or []
    texts = [token["content"] if isinstance(token, dict) else token for token in more if not isinstance(more, dict)]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_input_names=["input_ids", "attention_mask"],
        extra_special_tokens=[text for text in texts if backend.token_to_id(text) is not None],
        **specials,
        **{key: folder.settings[key] for key in _KEPT_SETTINGS if key in folder.settings},
    )
    tokenizer.name_or_path = str(folder.path)
    _check_ids(tokenizer, folder)
    return tokenizer


def _mend_specials(backend: Tokenizer, folder: _Folder) -> dict[str, str]:
    """Choose BOS, EOS, UNK and the padding among the tokens that the vocabulary has."""
    special = {token.content for token in backend.get_added_tokens_decoder().values() if token.special}
    chosen: dict[str, str] = {}
    for role, standard in _STANDARD.items():
        given = folder.names.get(role, "")
        swapped = given in _STANDARD.values() and given != standard and standard in special
        if given and backend.token_to_id(given) is not None and not swapped:
            chosen[role] = given
        elif standard in special and (given is not None or role == "eos_token"):
            chosen[role] = standard
            folder.notes.append(f"{role} was {given!r}: now {standard!r}, id {backend.token_to_id(standard)}")
        elif given:
            folder.notes.append(f"{role} was {given!r}, which the vocabulary lacks: left out")
    declared = [backend.id_to_token(index) for index in folder.declared_eos if index >= 0]
    if "eos_token" not in chosen and declared and declared[0]:
        chosen["eos_token"] = declared[0]
        folder.notes.append(f"eos_token was not named: now {declared[0]!r}, as the model's configuration says")
    if "eos_token" not in chosen:
        raise UserError(
            "the tokenizer has no end-of-sequence token",
            where=str(folder.path),
            why="without one no answer would ever end",
            fix='set "eos_token" in tokenizer_config.json to a token of the vocabulary',
        )
    pad = folder.names.get("pad_token") or ""
    index = backend.token_to_id(pad) if pad else None
    if index is not None and index < (folder.rows or index + 1):
        chosen["pad_token"] = pad
    else:
        chosen["pad_token"] = chosen.get("unk_token", chosen["eos_token"])
        folder.notes.append(f"pad_token was {pad!r}: now {chosen['pad_token']!r}, which has a row in the model")
    return chosen


def _check_ids(tokenizer: PreTrainedTokenizerFast, folder: _Folder) -> None:
    eos = cast(int, tokenizer.eos_token_id)
    if folder.rows and eos >= folder.rows:
        raise UserError(
            f"the end-of-sequence token {tokenizer.eos_token!r} has id {eos}, but the model has {folder.rows} rows",
            where=str(folder.path),
            fix="use the tokenizer of this very model",
        )
    if folder.rows and len(tokenizer) > folder.rows:
        folder.notes.append(f"tokens from id {folder.rows} to {len(tokenizer) - 1} have no row in the model")
    if folder.declared_eos and eos not in folder.declared_eos:
        declared = ", ".join(f"{index} ({tokenizer.convert_ids_to_tokens(index)!r})" for index in folder.declared_eos)
        folder.notes.append(
            f"the model's configuration ends answers at id {declared}; used is {eos} ({tokenizer.eos_token!r})"
        )
