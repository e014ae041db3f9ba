"""Commands that a message names: each makes a folder that loads from one that does not.

They are whole shell commands with Python's own quoting, so that a reader can paste them.
Invariant: none is executed here, and each is executed by a test.
"""

import re
import shlex
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from isobatch.checkpoint.hub_snapshot import hub_source

_READ = (
    "import os; from pathlib import Path; from safetensors.torch import load, save_file; "
    "folder = Path({folder!r}); "
    "tensors = {{name: tensor for file in sorted(folder.glob({pattern!r})) "
    "for name, tensor in load(file.read_bytes()).items()}}; "
)
_WRITE = (
    "save_file(tensors, folder / 'new', metadata={'format': 'pt'}); "
    "os.replace(folder / 'new', folder / 'model.safetensors')"
)
"""Written next to the old file and renamed, because a full disk must not cost the weights."""

_SHARDS = "model-*.safetensors"


class Renaming(NamedTuple):
    """How stored names become those of a checkpoint: parts removed, a prefix, tensors dropped."""

    removed: tuple[str, ...] = ()
    prefix: str = ""
    dropped: str = ""

    def __call__(self, name: str) -> str | None:
        """Return the new name; None for a tensor that is dropped."""
        if self.dropped and self.dropped in name:
            return None
        for part in self.removed:
            name = name.replace(part, "")
        return name.removeprefix(self.prefix)


def converted_folder(folder: Path) -> Path:
    """Return the folder that `isobatch_convert` writes."""
    source = hub_source(folder)
    return Path(source[0].rpartition("/")[2] if source else f"{folder}-converted")


def isobatch_convert(folder: Path, *options: str) -> str:
    """Return the commands that convert `folder` and then load it: a copy is written, not `folder`.

    A folder of the hub's cache is named by its id and commit.
    """
    source = hub_source(folder)
    name, revision = source or (str(folder), None)
    given = [*options, *(("--revision", revision) if revision else ())]
    out = str(converted_folder(folder))
    return f"isobatch convert {shlex.join([name, out, *given])}; then load {shlex.quote(out)}"


def drop_command(folder: Path, prefixes: Collection[str]) -> str:
    """Return the command that leaves out the tensors whose names begin with one of `prefixes`."""
    return isobatch_convert(folder, *(f"--drop={prefix}" for prefix in sorted(prefixes)))


def merge_shards_command(folder: Path) -> str:
    """Return the command that joins all shards in `folder` to one file."""
    copy, place = _own_copy(folder)
    return copy + python_command(_READ.format(folder=str(place), pattern=_SHARDS) + _WRITE)


def float32_command(folder: Path) -> str:
    """Return the command that converts all floating-point tensors in `folder` to float32."""
    return _edit(folder, "{name: tensor.float() for name, tensor in tensors.items()}")


def convert_command(source: str, target: str, options: str = "") -> str:
    """Return the command by which transformers reads `source` and writes safetensors."""
    given = f"{source!r}, {options}" if options else repr(source)
    code = (
        "from transformers import AutoModelForSequenceClassification as Model; "
        f"Model.from_pretrained({given}).save_pretrained({target!r})"
    )
    if source != target:
        code += (
            "; from transformers import AutoTokenizer; "
            f"AutoTokenizer.from_pretrained({given}).save_pretrained({target!r})"
        )
    return python_command(code)


def convert_tokenizer_command(folder: Path) -> str:
    """Return the command that makes a tokenizer.json which every class reads as it is.

    It works for all tokenizers that transformers runs in Rust.
    """
    copy, place = _own_copy(folder)
    code = (
        "from transformers import AutoTokenizer, PreTrainedTokenizerFast; "
        f"t = AutoTokenizer.from_pretrained({str(place)!r}); "
        "PreTrainedTokenizerFast(tokenizer_object=t.backend_tokenizer, **t.special_tokens_map, "
        "model_input_names=t.model_input_names, model_max_length=t.model_max_length, "
        f"truncation_side=t.truncation_side).save_pretrained({str(place)!r})"
    )
    return copy + python_command(code)


def flatten_command(folder: Path, encoder: str) -> str:
    """Return the command that moves the files of the encoder up, where modules.json expects it.

    A model on the hub is downloaded first: of such a folder its cache has a part only.
    """
    download, place = "", folder
    if source := hub_source(folder):
        name, revision = source
        place = Path(name.rpartition("/")[2])
        words = ["hf", "download", name, "--revision", revision, "--local-dir", str(place)]
        download = f"{shlex.join(words)} && "
    code = (
        f"import shutil; from pathlib import Path; folder = Path({str(place)!r}); "
        f"[shutil.move(file, folder) for file in (folder / {encoder!r}).iterdir()]; "
        "listed = folder / 'modules.json'; "
        f"listed.write_text(listed.read_text().replace('\"{encoder}\"', '\"\"'))"
    )
    return download + python_command(code)


def _edit(folder: Path, expression: str) -> str:
    pattern = _SHARDS if not (folder / "model.safetensors").exists() else "model.safetensors"
    copy, place = _own_copy(folder)
    read = _READ.format(folder=str(place), pattern=pattern)
    return copy + python_command(f"{read}tensors = {expression}; {_WRITE}")


def _own_copy(folder: Path) -> tuple[str, Path]:
    """Return the command that copies a folder of the hub's cache, and the folder to change."""
    if (source := hub_source(folder)) is None:
        return "", folder
    place = Path(source[0].rpartition("/")[2])
    return f"cp -rL {shlex.quote(str(folder))} {shlex.quote(str(place))} && ", place


def python_command(code: str) -> str:
    """Return the shell command that runs `code`, in double quotes where these keep every sign."""
    plain = not re.search(r'["$`\\\\!]', code)
    return f'python -c "{code}"' if plain else f"python -c {shlex.quote(code)}"
