"""One export from settings to a verified folder: written under another name, reloaded, compared, then put in place."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from alpaca_lora.errors import UserError
from alpaca_lora.export.adapter_folder import adapter_bytes, write_adapter_folder
from alpaca_lora.export.disk import check_disk
from alpaca_lora.export.gguf_lora import check_gguf_lora, gguf_lora_bytes, write_gguf_lora
from alpaca_lora.export.gguf_model import gguf_bytes, write_gguf
from alpaca_lora.export.hf import hf_bytes, write_hf
from alpaca_lora.export.kinds import find_export
from alpaca_lora.export.llama_cpp import check_llama_cpp
from alpaca_lora.export.merge import DTYPES, Merged, check_untied
from alpaca_lora.export.meta import check_meta, write_meta
from alpaca_lora.export.ollama import go_template, write_modelfile
from alpaca_lora.export.place import DiffersError, first_of, set_aside, whole
from alpaca_lora.export.push import check_push, push_folder
from alpaca_lora.export.report import RECORD, print_verification, write_record
from alpaca_lora.export.settings import (
    AdapterExportConfig,
    GgufExportConfig,
    GgufLoraExportConfig,
    HfExportConfig,
    MetaExportConfig,
    OllamaExportConfig,
    SourceConfig,
    TargetConfig,
    VerifyConfig,
)
from alpaca_lora.export.source import Advance, Source, open_source, text_config
from alpaca_lora.export.verify import check_memory, verify_export
from alpaca_lora.training.checkpoint import write_folder

_GB = 10**9

Write = Callable[[Path, Advance], None]


def export_hf(config: HfExportConfig, console: Console | None = None) -> Path:
    """Export the merged model as a Hugging Face folder."""
    _may_push(config.push_to_hub, config.target)
    source, console = _open(config.source, config.target, console)
    check_untied(source.merged, tied=text_config(source).tie_word_embeddings)
    dtype = DTYPES.get(config.dtype)
    folder = _export(
        source, config.target, console, hf_bytes(source.merged, dtype),
        lambda folder, advance: write_hf(
            source, folder, dtype=dtype, shard_bytes=int(config.shard_gb * _GB), advance=advance
        ),
    )  # fmt: skip
    return _push(folder, config.push_to_hub, console)


def export_adapter(config: AdapterExportConfig, console: Console | None = None) -> Path:
    """Export the adapter as PEFT and its users want it: without the run's checkpoints, with a base that others have."""
    _may_push(config.push_to_hub, config.target)
    source, console = _open(config.source, config.target, console)
    folder = _export(
        source, config.target, console, adapter_bytes(source),
        lambda folder, advance: write_adapter_folder(source, folder, advance),
    )  # fmt: skip
    return _push(folder, config.push_to_hub, console)


def export_meta(config: MetaExportConfig, console: Console | None = None) -> Path:
    """Export the merged model in Meta's format."""
    source, console = _open(config.source, config.target, console)
    check_meta(source, config.shards)
    dtype = DTYPES.get(config.dtype)
    return _export(
        source, config.target, console, hf_bytes(source.merged, dtype),
        lambda folder, advance: write_meta(source, folder, shards=config.shards, dtype=dtype, advance=advance),
    )  # fmt: skip


def export_gguf(config: GgufExportConfig, console: Console | None = None) -> Path:
    """Export the merged model as one GGUF file."""
    _need_llama_cpp(config.target)
    source, console = _open(config.source, config.target, console)
    check_untied(source.merged, tied=text_config(source).tie_word_embeddings)
    name = f"{source.name}-{config.outtype.upper()}.gguf"
    return _export(
        source, config.target, console, gguf_bytes(source, source.merged, config.outtype),
        lambda folder, advance: write_gguf(source, source.merged, folder / name, config.outtype, advance),
    )  # fmt: skip


def export_gguf_lora(config: GgufLoraExportConfig, console: Console | None = None) -> Path:
    """Export the adapter alone as a GGUF file."""
    _need_llama_cpp(config.target)
    source, console = _open(config.source, config.target, console)
    check_gguf_lora(source)
    return _export(
        source, config.target, console, gguf_lora_bytes(source),
        lambda folder, advance: write_gguf_lora(source, folder / f"{source.name}-LORA-F32.gguf", advance),
        scratch=_scratch(source),
    )  # fmt: skip


def export_ollama(config: OllamaExportConfig, console: Console | None = None) -> Path:
    """Export a Modelfile with the GGUF files that it names."""
    _need_llama_cpp(config.target)
    source, console = _open(config.source, config.target, console)
    go_template(source)  # refused before gigabytes are written
    merged = source.merged if config.merged else Merged(source.merged.base, None)
    check_untied(merged, tied=text_config(source).tie_word_embeddings)
    weights = f"{source.name if config.merged else source.base_stem}-{config.outtype.upper()}.gguf"
    adapter = None if config.merged else f"{source.name}-LORA-F32.gguf"

    def write(folder: Path, advance: Advance) -> None:
        write_gguf(source, merged, folder / weights, config.outtype, advance)
        if adapter:
            write_gguf_lora(source, folder / adapter, advance)
        write_modelfile(source, folder, weights, adapter, config.temperature)

    if not config.merged:
        check_gguf_lora(source)
    size = gguf_bytes(source, merged, config.outtype) + (0 if config.merged else gguf_lora_bytes(source))
    return _export(source, config.target, console, size, write, scratch=0 if config.merged else _scratch(source))


def _scratch(source: Source) -> int:
    """Give the bytes of the base's file, in float32, that an adapter's file is tried on."""
    return gguf_bytes(source, Merged(source.merged.base, None), "f32")


def verify(path: str, config: VerifyConfig, console: Console | None = None) -> None:
    """Verify an export that lies somewhere, and write its record anew; raise `UserError` where it differs."""
    console = console or Console()
    export = find_export(Path(path).expanduser())
    source = open_source(config.source)
    _say(console, *source.notes)
    verification = verify_export(export, source, console)
    print_verification(verification, console)
    try:
        record = write_record(verification, source)
    except OSError as error:
        record = export.folder / RECORD
        _say(console, f"the record was not written to {record}: {error.strerror}")
    if verification.faults:
        raise UserError(
            f"{path} is not the trained model: {first_of(verification.faults)}",
            where=str(record),
            fix="export it again from the base and adapter that it is meant to be",
        )
    _line(console, f"verified {path}: it is the trained model within the limits; record {record.name}")


def _need_llama_cpp(target: TargetConfig) -> None:
    if target.verify:
        check_llama_cpp()


def _open(source: SourceConfig, target: TargetConfig, console: Console | None) -> tuple[Source, Console]:
    if not target.output:
        raise UserError("no output folder given", fix="--output FOLDER")
    console, output = console or Console(), _output(target)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(
            f"{output} is not an empty folder", why="what lies there would be replaced or mixed with the export",
            fix="give another --output, or remove it",
        )  # fmt: skip
    found = open_source(source, target.name)
    _say(console, *found.notes)
    if target.verify:
        check_memory(found)
    return found, console


def _output(target: TargetConfig) -> Path:
    """Give the output folder by its own name, where the user wrote `.` or `..`."""
    return Path(os.path.abspath(Path(target.output).expanduser()))


def _export(source: Source, target: TargetConfig, console: Console, size: int, write: Write, scratch: int = 0) -> Path:
    """Write an export of `size` bytes; verifying it takes `scratch` more for a while."""
    output = _output(target)
    output.parent.mkdir(parents=True, exist_ok=True)
    check_disk(output, size, scratch if target.verify else 0)
    failed: list[str] = []

    def fill(folder: Path) -> None:
        with _progress(console, size) as advance:
            write(folder, advance)
        for path in folder.iterdir():
            path.chmod(0o644)
        if not target.verify:
            return
        verification = verify_export(find_export(folder), source, console)
        print_verification(verification, console)
        write_record(verification, source)
        failed.extend(verification.faults)
        if failed:
            raise DiffersError

    try:
        with whole(output, size):
            write_folder(output, fill)
    except DiffersError:
        raise set_aside(output, failed) from None
    files = sorted(path.name for path in output.iterdir())
    written = sum(path.stat().st_size for path in output.iterdir()) / _GB
    _line(console, f"wrote   {target.output}: {', '.join(files)}; {written:.3g} GB")
    if target.verify:
        _line(
            console, f"verified: reloaded, and within its limits of the trained model; {Path(target.output) / RECORD}"
        )
    else:
        _line(
            console, f"NOT VERIFIED, as asked; to do so: alpaca-lora verify {output} --adapter {source.adapter.folder}"
        )
    return output


@contextmanager
def _progress(console: Console, size: int) -> Generator[Advance]:
    columns = (
        TextColumn("writing"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("writing", total=size)
        yield lambda written: progress.advance(task, written)


def _may_push(repo_id: str | None, target: TargetConfig) -> None:
    """Ask before anything long is done whether an upload is allowed."""
    if repo_id and not target.verify:
        raise UserError(
            "--push_to_hub uploads what was verified, and --verify=False forbids that", fix="leave one of them out"
        )
    if repo_id:
        check_push(repo_id)


def _push(folder: Path, repo_id: str | None, console: Console) -> Path:
    if repo_id:
        push_folder(folder, repo_id, console=console)
    return folder


def _say(console: Console, *notes: str) -> None:
    for note in notes:
        _line(console, f"note    {note}")


def _line(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
