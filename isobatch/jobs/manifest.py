"""What a job's bytes depend on, written down; and the difference between two such records.

Input fingerprints, checkpoint, precision, instruction set, kernels, versions, options. It writes
nothing. Invariant: two jobs of equal manifests write equal bytes, so that one may finish the other.
"""

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

from isobatch.checkpoint import checkpoint_digest
from isobatch.jobs.chunks import MAX_CHUNK_CHARACTERS, MAX_CHUNK_ROWS, MAX_READ_CHARACTERS
from isobatch.jobs.durable import Written
from isobatch.jobs.layout import Layout
from isobatch.scope import describe_scope
from isobatch.tables import TableFile
from isobatch.tasks import Classifier
from isobatch.types import Truncation

MANIFEST_FORMAT = 1

Manifest = dict[str, object]


@dataclass(frozen=True, slots=True)
class Provenance:
    """All that the bits of an answer depend on, besides the text: the part of every manifest."""

    checkpoint_sha256: str
    precision: str
    device: str
    instruction_set: str
    kernels: Mapping[str, str]
    versions: Mapping[str, str]


def describe_provenance(classifier: Classifier) -> Provenance:
    """Of `classifier` on this machine. It reads the checkpoint's files for their digest."""
    scope = describe_scope(classifier, str(classifier.folder))
    return Provenance(
        checkpoint_sha256=checkpoint_digest(classifier.folder),
        precision=scope.precision,
        device=scope.device,
        instruction_set=scope.instruction_set,
        kernels={choice.operation: choice.kernel for choice in scope.choices},
        versions=scope.versions,
    )


def write_manifest(
    inputs: Sequence[tuple[TableFile, Written]],
    output: TableFile,
    layout: Layout,
    truncation: Truncation,
    provenance: Provenance,
) -> Manifest:
    """The record of one job, as plain values; the paths of the inputs are no part of it."""
    manifest = {
        "manifest": MANIFEST_FORMAT,
        "inputs": [_table(table) | asdict(written) for table, written in inputs],
        "output": _table(output),
        "columns": asdict(layout),
        "truncation": truncation,
        "chunks": {
            "rows": MAX_CHUNK_ROWS,
            "characters": MAX_CHUNK_CHARACTERS,
            "read_characters": MAX_READ_CHARACTERS,
        },
        **asdict(provenance),
        "versions": {**provenance.versions, **_versions_of_writers(output)},
    }
    # Through JSON and back: what is compared later has tuples as lists, as in the file.
    plain: Manifest = json.loads(json.dumps(manifest))
    return plain


def _versions_of_writers(output: TableFile) -> dict[str, str]:
    """Of the libraries that spell or compress the output, whose bytes may change with them."""
    versions = {"zlib": zlib.ZLIB_RUNTIME_VERSION} if output.compression == "gzip" else {}
    libraries = {"jsonl": "msgspec", "parquet": "pyarrow", "zstd": "backports.zstd"}
    for library in (libraries.get(output.format), libraries.get(output.compression)):
        try:
            versions |= {library: version(library)} if library else {}
        except PackageNotFoundError:  # Python 3.14 has zstd of its own
            continue
    return versions


def _table(table: TableFile) -> dict[str, object]:
    described = asdict(table)
    del described["path"]
    return described


def differences(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """One line for each entry that differs: where, what it was, what it is."""
    old, new = dict(_entries(before)), dict(_entries(now))
    return [
        f"{name}: was {old.get(name, 'absent')}, is {new.get(name, 'absent')}"
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    ]


def _entries(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Every leaf of nested mappings and lists, by its dotted name."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _entries(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
        for index, inner in enumerate(value):
            yield from _entries(inner, f"{name}[{index}]")
    else:
        yield name, json.dumps(value, ensure_ascii=False)
