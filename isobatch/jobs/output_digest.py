"""Digests of finished outputs, by which two machines compare their results.

Invariant: a digest is of the content. The same rows have it with and without compression, whose
bytes depend on the version of zlib or zstd; a Parquet file, which is compressed inside, is hashed
as it is.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import PurePath

from isobatch.errors import JobError, NotReproducedError, OptionError
from isobatch.jobs.durable import digest_file
from isobatch.jobs.folder import JobFolder
from isobatch.tables import TableFile
from isobatch.tables.text_files import FileHasher, damage_errors, open_stream

READ_BYTES = 1 << 20


def output_digest(output: TableFile) -> str:
    """Return the SHA-256 of a finished output, decompressed: `zcat FILE | sha256sum` gives it too.

    JobError if the file cannot be read, TableError if it is compressed and empty.
    """
    if output.compression == "none":
        finished = JobFolder(output.path).read_finished()
        return (finished or digest_file(output.path)).sha256
    damage: tuple[type[Exception], ...] = (OSError, *damage_errors(output.compression))
    hasher = FileHasher()
    try:
        with open_stream(output.path, output.compression) as stream:
            while piece := stream.read(READ_BYTES):
                hasher.update(piece)
    except damage as error:
        raise JobError(
            f"{output.path}: cannot be read: {error}. Start over with --restart"
        ) from error
    return hasher.digest().sha256


def combine_digests(outputs: Sequence[str], digests: Sequence[str]) -> str:
    """Return the digest of one output itself; of several that of their list, sorted by name.

    For files that are not compressed, `LC_ALL=C; sha256sum * | sha256sum` in their folder gives the
    same.
    """
    if len(digests) == 1:
        return digests[0]
    names = [PurePath(output).name for output in outputs]
    lines = sorted(zip(names, digests, strict=True), key=lambda pair: pair[0].encode())
    content = "".join(f"{digest}  {name}\n" for name, digest in lines)
    return hashlib.sha256(content.encode()).hexdigest()


def check_digest(given: str) -> str:
    """Return `given` as 64 hexadecimal digits in lower case; OptionError if it is not a digest."""
    digest = given.strip().lower().removeprefix("sha256:")
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise OptionError(
            f"--expect {given}: is not a SHA-256. Copy the 64 hexadecimal digits that `isobatch "
            'run` prints at its end, or "digest" of its --report'
        )
    return digest


def refuse_other_digest(outputs: Sequence[str], found: str, expected: str) -> None:
    """Raise a NotReproducedError unless the outputs have the expected digest."""
    if found != expected:
        name = outputs[0] if len(outputs) == 1 else f"{len(outputs)} outputs"
        raise NotReproducedError(
            f"{'stdout' if name == '-' else name}: the digest is {found}, not {expected}. The rows "
            "are complete, but their content is not that of the expected run. Compare input, "
            "checkpoint, options and arithmetic (--report of both runs), then the rows"
        )
