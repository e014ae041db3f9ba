"""Job manifests: everything that the bytes of an output depend on, and how two of them differ.

Input digests, checkpoint, precision, instruction set, kernels, versions, options. Invariant: two
jobs with equal manifests write equal bytes, so that one may resume the other.
"""

import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

from isobatch.checkpoint import checkpoint_digest
from isobatch.scope import describe_scope
from isobatch.scoring import OutputColumns, ScoringOptions
from isobatch.scoring.chunks import (
    FIRST_CHUNK_CHARACTERS,
    MAX_CHUNK_CHARACTERS,
    MAX_CHUNK_ROWS,
    MAX_READ_CHARACTERS,
)
from isobatch.tables import FileDigest, TableFile
from isobatch.tasks import Classifier

MANIFEST_FORMAT = 2

Manifest = dict[str, object]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Everything but the text that the bits of a prediction depend on; part of every manifest."""

    checkpoint_sha256: str
    precision: str
    device: str
    instruction_set: str
    kernels: Mapping[str, str]
    versions: Mapping[str, str]


def describe_provenance(classifier: Classifier) -> Provenance:
    """Describe `classifier` on this machine; reads the checkpoint's files for their digest."""
    scope = describe_scope(classifier, str(classifier.folder))
    return Provenance(
        checkpoint_sha256=checkpoint_digest(classifier.folder),
        precision=scope.precision,
        device=scope.device,
        instruction_set=scope.instruction_set,
        kernels={choice.operation: choice.kernel for choice in scope.choices},
        versions=scope.versions,
    )


def make_manifest(
    inputs: Sequence[tuple[TableFile, FileDigest]],
    output: TableFile,
    columns: OutputColumns,
    options: ScoringOptions,
    provenance: Provenance,
) -> Manifest:
    """Describe one job in plain values, without the paths of its inputs."""
    manifest = {
        "manifest": MANIFEST_FORMAT,
        "inputs": [_table(table) | asdict(digest) for table, digest in inputs],
        "output": _table(output),
        "columns": asdict(columns),
        "truncation": options.truncation,
        "on_empty": options.on_empty,
        "chunks": {
            "rows": MAX_CHUNK_ROWS,
            "first_characters": FIRST_CHUNK_CHARACTERS,
            "characters": MAX_CHUNK_CHARACTERS,
            "read_characters": MAX_READ_CHARACTERS,
        },
        **asdict(provenance),
        "versions": {**provenance.versions, **_writer_versions(output)},
    }
    # Through JSON and back: a manifest that was read from its file has lists where this has tuples.
    plain: Manifest = json.loads(json.dumps(manifest))
    return plain


def _writer_versions(output: TableFile) -> dict[str, str]:
    """Return the versions of libraries that format or compress the output."""
    versions = {"zlib": zlib.ZLIB_RUNTIME_VERSION} if output.compression == "gzip" else {}
    libraries = {"jsonl": "msgspec", "parquet": "pyarrow", "zstd": "backports.zstd"}
    for library in (libraries.get(output.format), libraries.get(output.compression)):
        try:
            versions |= {library: version(library)} if library else {}
        except PackageNotFoundError:  # Python 3.14 has zstd in its standard library
            continue
    return versions


def _table(table: TableFile) -> dict[str, object]:
    described = asdict(table)
    del described["path"], described["format_given"]
    return described


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
    (r"columns\.labels.*", "the labels of the checkpoint"),
    (r"truncation", "--truncation"),
    (r"on_empty", "--on-empty"),
    (r"chunks.*", "the sizes of chunks (the version of Isobatch)"),
    (r"checkpoint_sha256", "the checkpoint"),
    (r"precision", "the precision"),
    (r"device", "the device"),
    (r"instruction_set", "the processor's instruction set"),
    (r"kernels.*", "the kernels"),
    (r"versions.*", "the version of a library"),
)
"""Names of entries, as patterns, and what a user calls them; the first that matches counts."""


def describe_changes(before: Mapping[str, object], now: Mapping[str, object]) -> str:
    """Say in words what changed, then list the entries; "" if both are equal."""
    names = list(_changed(before, now))
    if not names:
        return ""
    first = []
    if _num_inputs(before) != _num_inputs(now):
        first = ["the number of input files"]
        names = [name for name in names if not name.startswith("inputs")]
    words = dict.fromkeys([*first, *map(_in_words, names)])
    subject = " and ".join(words)
    return f"{subject} changed ({'; '.join(differences(before, now))})"


def _in_words(name: str) -> str:
    return next((words for pattern, words in WORDS if re.fullmatch(pattern, name)), name)


def _num_inputs(manifest: Mapping[str, object]) -> int:
    inputs = manifest.get("inputs")
    return len(inputs) if isinstance(inputs, list) else 0


def _changed(before: Mapping[str, object], now: Mapping[str, object]) -> Iterator[str]:
    old, new = dict(_entries(before)), dict(_entries(now))
    return (name for name in {**old, **new} if old.get(name) != new.get(name))


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
