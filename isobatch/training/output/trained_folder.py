"""The finished folder: an ordinary checkpoint of Hugging Face, and the record of its training.

Invariant: it is complete or absent, and the same training gives the same bytes: durations are in
log.jsonl alone. A folder that holds anything else is never written into.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from isobatch.checkpoint import TOKENIZER_FILES, read_json, write_tensors
from isobatch.checkpoint.checkpoint_tokenizer import read_tokenizer
from isobatch.jobs.durable import digest_file, sync_folder, write_errors
from isobatch.training.data.data_facts import DataFacts
from isobatch.training.initial_model import InitialModel
from isobatch.training.output.model_card import render_model_card
from isobatch.training.output.trained_model import TrainedModel
from isobatch.training.output.training_report import render_training_report
from isobatch.training.steps.events import plain_json
from isobatch.training.train_record import RECORD_NAME

_FOR_OTHERS = ("sentencepiece.bpe.model", "spiece.model", "spm.model")
"""Files of a tokenizer that other libraries read."""


def write_trained_folder(out: Path, trained: TrainedModel, *, report: bool = True) -> str:
    """Write the folder of a trained model; returns the SHA-256 of model.safetensors.

    An earlier folder of that name is replaced. report: write report.html, too. Raises JobError if
    it cannot be written; `out` is then as before.
    """
    out = out.resolve()  # a link stays one
    with _new_folder(out) as partial:
        model = trained.calibrated.model
        write_tensors(partial, model.config.family, dict(model.named_parameters()))
        digest = digest_file(partial / "model.safetensors").sha256
        _write_json(partial / "config.json", trained.start.raw_config)
        _write_tokenizer(trained.start, partial)
        lines = (json.dumps(plain_json(each), ensure_ascii=False) for each in trained.events)
        _write_text(partial / "log.jsonl", "".join(f"{line}\n" for line in lines))
        _write_text(partial / "README.md", render_model_card(trained, out.name))
        if report:
            title = f"Training of {out.name}"
            _write_text(partial / "report.html", render_training_report(trained, title))
        written = sorted([RECORD_NAME, *(path.name for path in partial.iterdir())])
        _write_json(partial / RECORD_NAME, _record(trained, digest) | {"written": written})
    return digest


def _record(trained: TrainedModel, digest: str) -> dict[str, Any]:
    """Return the content of train.json."""
    start, best = trained.start, trained.best
    return {
        **trained.record,
        "base": {
            **trained.record.get("base", {}),
            "name": start.hub[0] if start.hub else start.name,
            "revision": start.hub[1] if start.hub else None,
            "head": start.head,
            "reason": start.reason,
        },
        "model_sha256": digest,
        "evidence": trained.scheme.evidence,
        "data": _counts(trained.facts),
        "truncated": dict(zip(("training", "validation"), trained.num_truncated, strict=True)),
        "digests": {
            "training": _examples_digest(trained, "training"),
            "validation": _examples_digest(trained, "validation"),
            "evaluations": [[each["step"], each["digest"]] for each in trained.evaluations],
        },
        "best": {name: best[name] for name in ("step", "num_steps", "weights", "value")},
        "temperature": asdict(trained.calibrated.temperature),
        "validation": dict(trained.metrics),
    }


def _counts(facts: DataFacts) -> dict[str, Any]:
    """Return what was counted; the rest is in "options", and in "files" with relative paths."""
    elsewhere = ("task", "split_share", "files", "validation_files")
    return {name: each for name, each in facts.as_dict().items() if name not in elsewhere}


def _examples_digest(trained: TrainedModel, part: str) -> str:
    """Compute SHA-256 over ids, types, targets and weights: all that is learned or compared."""
    examples = trained.training if part == "training" else trained.validation
    digest = hashlib.sha256()
    for encoding in examples.encodings:
        ids = [list(encoding.input_ids), list(encoding.token_type_ids)]
        digest.update(json.dumps(ids).encode())
    digest.update(examples.targets.astype("<f4").tobytes())
    digest.update(examples.weights.astype("<f4").tobytes())
    return digest.hexdigest()


# ------------------------------------------------------------------------------ files


def _write_tokenizer(start: InitialModel, out: Path) -> None:
    """Copy the tokenizer; state the length that the model has, and write tokenizer.json."""
    folder = start.folder
    for name in (*TOKENIZER_FILES, *_FOR_OTHERS):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)
    path = out / "tokenizer_config.json"
    stated = read_json(path) if path.is_file() else {}
    _write_json(path, stated | {"model_max_length": start.encoder.max_tokens})
    if not (out / "tokenizer.json").is_file():
        _write_text(out / "tokenizer.json", read_tokenizer(folder).backend.to_str(pretty=True))


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(plain_json(content), indent=2, ensure_ascii=False, allow_nan=False)
    _write_text(path, text + "\n")


def _write_text(path: Path, text: str) -> None:
    path.write_bytes(text.encode())


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `out`, which takes its place on success."""
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    old = out.with_name(f".{out.name}.{os.getpid()}.old")
    with write_errors(out):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
            _sync(sorted(partial.iterdir()))
            _exchange(partial, out, old)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _exchange(new: Path, out: Path, old: Path) -> None:
    """Rename `new` to `out`; an earlier folder there becomes `old`, or stays if that fails."""
    if out.exists():
        out.rename(old)
    try:
        new.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise
    sync_folder(out.parent)


def _sync(paths: Sequence[Path]) -> None:
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
