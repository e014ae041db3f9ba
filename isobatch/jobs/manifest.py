"""Job manifests: everything that the bytes of an output depend on, and how two of them differ.

Input digests, checkpoint, precision, arithmetic, options, and the versions of the libraries that
make token ids or format the output. Invariant: two jobs with equal manifests write equal bytes, on
machines of any kind, so that one may resume the other. A machine's processor, instruction set and
versions are recorded next to the manifest (`run_record`), as information that is not compared.
"""

import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from isobatch.checkpoint import checkpoint_digest
from isobatch.checkpoint.truncation import truncation_record
from isobatch.kernels import ARITHMETIC
from isobatch.scope import describe_scope
from isobatch.scoring import OutputColumns, RowScorer, ScoringOptions
from isobatch.scoring.chunks import (
    FIRST_CHUNK_CHARACTERS,
    MAX_CHUNK_CHARACTERS,
    MAX_CHUNK_ROWS,
    MAX_READ_CHARACTERS,
)
from isobatch.tables import FileDigest, TableFile

MANIFEST_FORMAT = 3
"""Format 2 had the instruction set and the kernels of the machine in the place of an arithmetic."""

Manifest = dict[str, object]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Checkpoint, task, arithmetic and machine of a run.

    arithmetic: as Pipeline.arithmetic; equal ones mean equal bits. versions: of isobatch, Python
    and libraries. model, revision: where the checkpoint was found; None for the bundled model.
    task: as RowScorer.record.
    """

    checkpoint_sha256: str
    precision: str
    arithmetic: str
    device: str
    processor: str
    instruction_set: str
    kernels: Mapping[str, str]
    versions: Mapping[str, str]
    model: str | None = None
    revision: str | None = None
    task: Mapping[str, object] = field(default_factory=dict)

    def compared(self) -> dict[str, object]:
        """Return the part that the bits of a prediction depend on, as it is in a manifest.

        tokenizers makes the token ids, and a version may fix a rule of it. Isobatch writes the
        reasons of errors and cuts texts, Python's minor versions change its csv, its codecs and its
        table of white space. torch, numpy and safetensors pass numbers on: where their arithmetic
        counts, `arithmetic` names torch's version. An arithmetic that is not ARITHMETIC also
        depends on the device and on the kernels that were selected.
        """
        python = ".".join(self.versions["python"].split(".")[:2])
        versions = {name: self.versions[name] for name in ("isobatch", "tokenizers")}
        same: dict[str, object] = {
            "checkpoint_sha256": self.checkpoint_sha256,
            "precision": self.precision,
            "arithmetic": self.arithmetic,
            "versions": versions | {"python": python},
        }
        if self.task:  # none of text-classification, as in work saved before there were tasks
            same["task"] = dict(self.task)
        if self.arithmetic == ARITHMETIC:
            return same
        return same | {"device": self.device, "kernels": dict(self.kernels)}


def describe_provenance(
    scorer: RowScorer, model: str | None = None, revision: str | None = None
) -> Provenance:
    """Describe `scorer` on this machine; reads the checkpoint's files for their digest.

    model, revision: as they were given to `ModelOptions`.
    """
    pipeline = scorer.pipeline
    scope = describe_scope(pipeline, str(pipeline.folder))
    is_folder = model is not None and Path(model).expanduser().is_dir()
    return Provenance(
        checkpoint_sha256=checkpoint_digest(pipeline.folder),
        precision=scope.precision,
        arithmetic=pipeline.arithmetic,
        device=scope.device,
        processor=scope.processor,
        instruction_set=scope.instruction_set,
        kernels={choice.operation: choice.kernel for choice in scope.choices},
        versions=scope.versions,
        model=str(pipeline.folder.resolve()) if is_folder else model,
        revision=revision,
        task=scorer.record,
    )


def make_manifest(
    inputs: Sequence[tuple[TableFile, FileDigest]],
    output: TableFile,
    columns: OutputColumns,
    options: ScoringOptions,
    provenance: Provenance,
) -> Manifest:
    """Describe one job in plain values, without the paths of its inputs."""
    compared = provenance.compared()
    versions = compared.pop("versions")
    assert isinstance(versions, dict)
    manifest = {
        "manifest": MANIFEST_FORMAT,
        "inputs": [_table(table) | asdict(digest) for table, digest in inputs],
        "output": _table(output),
        "columns": _columns(columns),
        "truncation": truncation_record(options.truncation or "cut"),
        "on_empty": options.on_empty,
        "chunks": {
            "rows": MAX_CHUNK_ROWS,
            "first_characters": FIRST_CHUNK_CHARACTERS,
            "characters": MAX_CHUNK_CHARACTERS,
            "read_characters": MAX_READ_CHARACTERS,
        },
        **compared,
        "versions": {**versions, **_library_versions([*(table for table, _ in inputs), output])},
    }
    # Through JSON and back: a manifest that was read from its file has lists where this has tuples.
    plain: Manifest = json.loads(json.dumps(manifest))
    return plain


def _columns(columns: OutputColumns) -> dict[str, object]:
    """Describe columns; only vectors have a size, and few rows labels of their own."""
    described = asdict(columns)
    if described["read"]["labels"] is None:
        del described["read"]["labels"]
    for added in described["added"]:
        if added["size"] is None:
            del added["size"]
    return described


def run_record(inputs: Sequence[TableFile], output: TableFile, provenance: Provenance) -> Manifest:
    """Describe one run of a job: its inputs by paths from the output's folder, and its machine.

    The paths stay valid where inputs, output and .isobatch are moved together. That of stdin is
    null: its text is not kept.
    """
    folder = output.path.resolve().parent
    paths = [
        None if table.is_stdin else os.path.relpath(table.path.resolve(), folder)
        for table in inputs
    ]
    return {"inputs": paths, **asdict(provenance)}


def _library_versions(tables: Sequence[TableFile]) -> dict[str, str]:
    """Return the versions of libraries that read the inputs, the first tables, or write the last.

    Those of inputs spell values as texts, and decide where chunks end.
    """
    libraries = {"jsonl": "msgspec", "parquet": "pyarrow", "npy": "numpy"}
    used = {libraries.get(table.format): None for table in tables}
    output = tables[-1]
    versions = {"zlib": zlib.ZLIB_RUNTIME_VERSION} if output.compression == "gzip" else {}
    if output.compression == "zstd":
        used["backports.zstd"] = None
    for library in filter(None, used):
        try:
            versions[library] = version(library)
        except PackageNotFoundError:  # Python 3.14 has zstd in its standard library
            continue
    return versions


def _table(table: TableFile) -> dict[str, object]:
    described = asdict(table)
    del described["path"], described["format_given"], described["is_stdin"]
    return described


OF_AN_ARITHMETIC = r"device|kernels\..*"
"""Entries that a manifest has only for some arithmetics: no difference besides another one."""

OF_A_TASK = r"columns\.(added|labels|has_).*"
"""Entries that follow from the task: no difference besides another one."""

WORDS = (
    (r"manifest", "the version of Isobatch"),
    (r"inputs.*\.(sha256|bytes)", "the input file"),
    (r"inputs.*\.dialect\.header", "--no-header"),
    (r"inputs.*\.dialect\.quotes", "--no-quotes"),
    (r"inputs.*\.dialect\.delimiter", "--delimiter"),
    (r"inputs.*\.encoding", "--encoding"),
    (r"inputs.*", "the format of the input"),
    (r"output\..*", "the format of the output"),
    (r"columns\.read\..*", "the columns that are read"),
    (r"columns\.kept", "the columns that are kept"),
    (r"columns\.added.*|columns\.has_.*", "the columns that are added"),
    (r"columns\.labels.*", "the labels"),
    (r"task\.name", "the task"),
    (r"task\.(query|template|aggregation|pooling|prompt)", r"--\1"),
    (r"task\.(true|false)_token", r"--\1-token"),
    (r"task\.multi_label", "--multi-label"),
    (r"task\.normalize", "--normalize"),
    (r"task\.prompt_name", "--prompt-name"),
    (r"task", "the task"),
    (r"truncation", "--truncation"),
    (r"truncation\.stride", "--stride"),
    (r"truncation\.pooling", "--window-pooling"),
    (r"on_empty", "--on-empty"),
    (r"chunks.*", "the sizes of chunks (the version of Isobatch)"),
    (r"checkpoint_sha256", "the checkpoint"),
    (r"precision", "the precision"),
    (r"arithmetic", "the arithmetic"),
    (r"device", "the device"),
    (r"kernels.*", "the kernels"),
    (r"versions.*", "the version of a library"),
)
"""Names of entries, as patterns, and what a user calls them; the first that matches counts."""


def describe_changes(before: Mapping[str, object], now: Mapping[str, object]) -> str:
    """Say in words what changed, then list the entries; "" if both are equal."""
    names = _changed(before, now)
    if not names:
        return ""
    first = []
    if _num_inputs(before) != _num_inputs(now):
        first = ["the number of input files"]
        names = [name for name in names if not name.startswith("inputs")]
    words = dict.fromkeys([*first, *map(_in_words, names)])
    subject = " and ".join(words)
    return f"{subject} changed ({'; '.join(differences(before, now))})"


def portable_fix(before: Mapping[str, object], now: Mapping[str, object], verb: str) -> str:
    """Return where to `verb` instead if the arithmetic differs; "" if it does not."""
    recorded = before.get("arithmetic")
    if recorded == now.get("arithmetic"):
        return ""
    return (
        f"Only an equal arithmetic guarantees equal bits: {verb} on a machine where `isobatch "
        f"info` shows {recorded} ({ARITHMETIC} has the same bits on every processor)"
    )


def _in_words(name: str) -> str:
    found = (re.fullmatch(pattern, name) for pattern, _ in WORDS)
    matches = zip(found, (words for _, words in WORDS), strict=True)
    return next((match.expand(words) for match, words in matches if match), name)


def _num_inputs(manifest: Mapping[str, object]) -> int:
    inputs = manifest.get("inputs")
    return len(inputs) if isinstance(inputs, list) else 0


def _changed(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """List the dotted names of the entries that differ, without those that another implies."""
    old, new = dict(_entries(before)), dict(_entries(now))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if "arithmetic" in names:
        names = [name for name in names if not re.fullmatch(OF_AN_ARITHMETIC, name)]
    if "task" in names or "task.name" in names:
        names = [name for name in names if not re.fullmatch(OF_A_TASK, name)]
    return names


def differences(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """List the entries that differ: name, old value, new value."""
    old, new = dict(_entries(before)), dict(_entries(now))
    return [
        f"{name}: was {old.get(name, 'absent')}, is {new.get(name, 'absent')}"
        for name in _changed(before, now)
    ]


def _entries(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield every leaf of nested mappings and lists with its dotted name."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _entries(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
        for index, inner in enumerate(value):
            yield from _entries(inner, f"{name}[{index}]")
    else:
        yield name, json.dumps(value, ensure_ascii=False)
