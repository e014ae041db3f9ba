"""Names that a user gives, to the files of rows that they mean.

It knows nothing of what stands in a file; each is opened once only to see that it can be.
Invariant: the caller's order, sorted by name within a folder or pattern, and no file twice.
"""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

from isobatch.errors import OptionError, TableError
from isobatch.tables.formats import ENDINGS, is_known


def expand_inputs(inputs: Sequence[str], leave_out: Path | None = None) -> list[Path]:
    """The files that `inputs` name: files, patterns such as "part-*.csv", and folders.

    A pattern counts as one only where no file has that literal name. A folder gives its own files
    whose endings are known, without hidden files and subfolders. `leave_out` is left out of both:
    the output, which stands there from an earlier run. TableError for a name that matches
    nothing, a folder without such files, or a file that cannot be opened. OptionError for a file
    that is named twice.
    """
    sources: dict[Path, str] = {}
    paths: list[Path] = []
    for name in inputs:
        for path in _expand(name, leave_out):
            _refuse_unreadable(path)
            real = path.resolve()
            if real in sources:
                raise OptionError(
                    f"{path}: is named twice, by {sources[real]!r} and by {name!r}; its rows would "
                    "be read twice, so leave one of them out"
                )
            sources[real] = name
            paths.append(path)
    return paths


def _expand(name: str, leave_out: Path | None) -> list[Path]:
    path = Path(name)
    try:
        if path.is_dir():
            return _files_of_folder(path, leave_out)
        if path.exists() or not any(mark in name for mark in "*?["):
            return [path]
        # Path.glob takes no absolute pattern, and finds hidden files too
        found = sorted(glob.glob(name, recursive=True))  # noqa: PTH207
        matches = [m for m in map(Path, found) if not m.is_dir() and not _same(m, leave_out)]
    except OSError as error:
        raise unreadable(path, error) from error
    if not matches:
        raise TableError(f"{name}: no file matches this pattern; check its spelling and folder")
    return matches


def _same(path: Path, other: Path | None) -> bool:
    return other is not None and path.resolve() == other.resolve()


def _files_of_folder(folder: Path, leave_out: Path | None) -> list[Path]:
    files = sorted(path for path in _known_files(folder) if not _same(path, leave_out))
    if not files:
        raise TableError(
            f"{folder}: this folder holds no file with a known ending ({', '.join(ENDINGS)}); name "
            "the files themselves (subfolders are not searched)"
        )
    return files


def _known_files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if not path.name.startswith(".") and is_known(path.name) and path.is_file():
            yield path


def _refuse_unreadable(path: Path) -> None:
    """A pipe would be emptied by the first of two passes, so it counts as unreadable too."""
    try:
        if path.exists() and not path.is_file():
            raise TableError(
                f"{path}: is not a regular file, and is read more than once; save its content to a "
                "file first"
            )
        path.open("rb").close()
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> TableError:
    """The TableError for a file that the operating system will not let us open or read."""
    if isinstance(error, FileNotFoundError):
        return TableError(f"{path}: there is no such file; check its spelling and folder")
    if isinstance(error, IsADirectoryError):
        return TableError(f"{path}: is a folder, where a file is expected; name the files in it")
    if isinstance(error, PermissionError):
        return TableError(f"{path}: may not be read; change its permissions (chmod +r)")
    return TableError(
        f"{path}: cannot be read: {error.strerror or error}; check the disk, or copy the file anew"
    )
