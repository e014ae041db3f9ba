"""The measured checkpoints: a seeded random DistilBERT-base, or an existing folder.

The random one is written by a process of its own (`python -m benchmarks.checkpoints`), so that the
driver does not import torch. Invariant: a cache folder is named by the digest of its inputs, and is
written atomically.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import BenchmarkError
from benchmarks.engines import EngineSpec, peer
from benchmarks.system_info import installed_version

_SEED = 0


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder, and the digest of its configuration and weights."""

    name: str
    title: str
    folder: Path
    sha256: str


def folder_checkpoint(name: str, title: str, folder: Path) -> Checkpoint:
    """Describe an existing checkpoint folder."""
    folder, digest = folder.resolve(), hashlib.sha256()
    for file in ("config.json", "model.safetensors", "tokenizer.json"):
        if not (folder / file).is_file():
            raise BenchmarkError(
                f"{folder}: {file} not found. Pass a checkpoint folder in Hugging Face's layout"
            )
        with (folder / file).open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return Checkpoint(name, title, folder, digest.hexdigest())


def random_base_checkpoint(build: Path, tokenizer_from: Path) -> Checkpoint:
    """Write a DistilBERT-base with random weights, once, with the tokenizer of another folder."""
    tokenizer = tokenizer_from / "tokenizer.json"
    if not tokenizer.is_file():
        raise BenchmarkError(f"{tokenizer} not found. --tokenizer-from takes a checkpoint folder")
    key = hashlib.sha256(tokenizer.read_bytes()).hexdigest()[:12]
    folder = build / f"base-seed{_SEED}-transformers{installed_version('transformers')}-{key}"
    if not folder.is_dir():
        with atomic_folder(folder) as unfinished:
            arguments = [str(unfinished), str(tokenizer_from.resolve())]
            command = [sys.executable, "-m", "benchmarks.checkpoints", *arguments]
            done = subprocess.run(command, check=False, cwd=Path(__file__).parent.parent)
            if done.returncode:
                raise BenchmarkError("could not write the random checkpoint. See the lines above")
    return folder_checkpoint("base", "DistilBERT-base shape, random weights", folder)


def prepared_folder(build: Path, checkpoint: Checkpoint, spec: EngineSpec) -> Path:
    """Name the folder of an engine's converted checkpoint by digest and package versions.

    Engines that share a conversion list the same packages, and so share the folder.
    """
    versions = "-".join(f"{package}{installed_version(package)}" for package in spec.packages)
    return build / f"{checkpoint.name}-{checkpoint.sha256[:12]}" / f"{spec.conversion}-{versions}"


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder next to `folder`; rename it to `folder` on success."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=folder.parent))
    try:
        yield unfinished
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def write_random_base(folder: Path, tokenizer_from: Path) -> None:
    """Write transformers' default DistilBertConfig: 6 layers, 768/3072, 12 heads, 2 labels."""
    import torch

    transformers = peer("transformers")
    tokenizer = json.loads((tokenizer_from / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    torch.manual_seed(_SEED)
    config = transformers.DistilBertConfig(num_labels=2, vocab_size=len(vocabulary))
    transformers.DistilBertForSequenceClassification(config).save_pretrained(folder)
    # A fixed length or padding in the file would slow some engines and not others.
    tokenizer |= {"truncation": None, "padding": None}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    for file in ("tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        if (tokenizer_from / file).is_file():
            shutil.copy(tokenizer_from / file, folder / file)


def main() -> None:
    """Write the random checkpoint: `python -m benchmarks.checkpoints OUT TOKENIZER_FROM`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checkpoints")
    parser.add_argument("out", type=Path)
    parser.add_argument("tokenizer_from", type=Path)
    options = parser.parse_args()
    write_random_base(options.out, options.tokenizer_from)


if __name__ == "__main__":
    main()
