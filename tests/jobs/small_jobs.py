"""A checkpoint so small that a job takes milliseconds, rows for it, and the command in process."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tiny_checkpoints import Tiny, write_checkpoint
from tokenizer_folders import write_wordpiece_folder

from isobatch.cli import main
from isobatch.errors import JobError
from isobatch.jobs.folder import JobFolder
from isobatch.scoring import RowCounts

MAX_TOKENS = 48
"""Of the tokenizer in the folder."""

TOO_LONG = "nice day " * MAX_TOKENS
TEXTS = ["Today is a nice day!", "not sure", "a gripping film", "its plot", "good film", "nice"]


def small_checkpoint(folder: Path, seed: int = 0) -> Path:
    """A checkpoint with its tokenizer; another seed gives other weights."""
    tiny = Tiny("bert", num_layers=1, intermediate_size=16, seed=seed)
    return write_wordpiece_folder(write_checkpoint(folder, tiny))


def write_rows(path: Path, texts: Sequence[object]) -> Path:
    """JSON Lines or csv, by the ending: a row for each text, with its number as id."""
    if path.suffix == ".jsonl":
        rows = [json.dumps({"id": index, "text": text}) for index, text in enumerate(texts)]
    else:
        rows = ["id,text", *(f"{index},{text}" for index, text in enumerate(texts))]
    path.write_text("".join(f"{row}\n" for row in rows))
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def command(*arguments: object) -> int:
    """Give the command in this process; its exit code. It reads and writes the process's own."""
    before, sys.argv = sys.argv, ["isobatch", *map(str, arguments)]
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        sys.argv = before
    return 0


class Place:
    """An input of some chunks, its output, the work on it, and the command for it."""

    def __init__(self, folder: Path, checkpoint: Path, output: str = "out.csv") -> None:
        texts = [f"{text} {number}" for number in (1, 2) for text in TEXTS]
        self.input = write_rows(folder / "rows.csv", texts)
        self.output = folder / output
        self.work = JobFolder(self.output)
        self._options = ("--model", checkpoint, "--threads", 1)

    def run(self, *more: object) -> int:
        return command("run", self.input, "-o", self.output, *self._options, *more)

    def chunk(self, index: int) -> Path:
        return self.work.path / "chunks" / f"{index:06d}"

    def lines_in_ledger(self) -> list[bytes]:
        return self.work.ledger.read_bytes().splitlines(keepends=True)

    def unbroken(self) -> bytes:
        """The bytes of an unbroken run, which leaves nothing behind."""
        assert self.run() == 0
        content = self.output.read_bytes()
        self.forget()
        return content

    def forget(self) -> None:
        """Remove the output and the saved work."""
        shutil.rmtree(self.work.path)
        self.output.unlink()

    def stop_at(self, index: int) -> None:
        """Run until chunk `index` is to be saved, and stop there."""
        with before_commit(index, break_off):
            assert self.run() == 7
        assert len(self.lines_in_ledger()) == index


@contextmanager
def before_commit(index: int, action: Callable[[], object]) -> Iterator[None]:
    """Do something before chunk `index` is saved."""
    commit = JobFolder.commit

    def act_and_commit(folder: JobFolder, content: bytes, counts: RowCounts) -> None:
        if len(folder.chunk_paths()) == index:
            action()
        commit(folder, content, counts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JobFolder, "commit", act_and_commit)
        yield


def break_off() -> None:
    raise JobError("broken off")
