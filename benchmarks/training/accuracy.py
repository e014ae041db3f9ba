"""The accuracy and time of whole trainings: Isobatch's default one, and the fastest Trainer's.

Each run is kept in `.build/` as soon as it is finished, so that an hour of them can be interrupted.
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.arguments import BUILD, bundled_checkpoint
from benchmarks.engines import peer
from benchmarks.files import run_in_new_process
from benchmarks.result_files import log
from benchmarks.system_info import describe_machine, installed_version
from benchmarks.training.side_process import GROUPED, ISOBATCH
from benchmarks.training.workloads import BATCH_SIZE, TrainingWorkload
from benchmarks.worker import peak_memory_mb
from benchmarks.workload import read_labelled_articles

TRAIN_TEXTS = 6_000
PACKAGES = ("isobatch", "torch", "transformers", "accelerate")
_PACKAGE = Path(__file__).parents[2] / "isobatch"


def measure_accuracy(
    data: Path, threads: int, seeds: int, train_texts: int = TRAIN_TEXTS, build: Path = BUILD
) -> dict[str, Any]:
    """Run what is not in `.build/` yet; return the result of all.

    Isobatch holds out a tenth of the texts to choose its best weights by; the Trainer trains on all
    of them, and evaluates nothing.
    """
    texts, labels = read_labelled_articles(data, None)
    checkpoint = bundled_checkpoint()
    whole = TrainingWorkload(checkpoint.folder, 1e-4, len({*labels}), texts, labels)
    train = whole.take(range(train_texts))
    test = whole.take(range(TRAIN_TEXTS, len(texts)))
    actions: dict[str, Callable[..., dict[str, Any]]] = {
        ISOBATCH.name: train_isobatch,
        GROUPED.name: train_transformers,
    }
    machine = describe_machine()
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in actions}
    epochs = default_epochs(train_texts)
    for seed in range(seeds):
        for name, action in actions.items():
            key = _key(name, checkpoint.sha256, train_texts, threads, epochs)
            path = build / "training-accuracy" / f"{name}-seed{seed}-{key}.json"
            if not path.exists():
                log(f"accuracy: {name}, seed {seed}, {epochs} epochs")
                run = run_in_new_process(action, train, test, threads, seed, epochs)
                path.parent.mkdir(parents=True, exist_ok=True)
                unfinished = path.with_suffix(".unfinished")
                unfinished.write_text(json.dumps(run) + "\n", encoding="utf-8")
                unfinished.rename(path)
            runs[name].append(json.loads(path.read_text(encoding="utf-8")))
            log(f"  {runs[name][-1]}")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "versions": {each: installed_version(each) for each in PACKAGES},
        "threads": threads,
        "epochs": epochs,
        "train_texts": train_texts,
        "test_texts": len(test.texts),
        "runs": runs,
    }


def default_epochs(train_texts: int) -> int:
    """Return the epochs of the default recipe, which depend on the texts that are not held out."""
    from isobatch.training.recipe import MAX_EPOCHS, MIN_EPOCHS, WANTED_STEPS

    steps = -(-round(0.9 * train_texts) // BATCH_SIZE)
    return min(max(-(-WANTED_STEPS // steps), MIN_EPOCHS), MAX_EPOCHS)


def train_isobatch(
    train: TrainingWorkload, test: TrainingWorkload, threads: int, seed: int, epochs: int
) -> dict[str, Any]:
    """Train by the default recipe, to the finished folder; classify the test texts with it."""
    from isobatch.training.fit import fit
    from isobatch.training.steps.events import Event, StepDone

    peer("torch").set_num_threads(threads)
    steps: list[Event] = []
    began = time.perf_counter()
    classifier = fit(
        train.checkpoint,
        list(train.texts),
        [str(label) for label in train.labels],
        threads=threads,
        callback=steps.append,
        seed=seed,
        epochs=epochs,
    )
    seconds, memory = time.perf_counter() - began, peak_memory_mb()
    logits = classifier.logits(list(test.texts))
    right = sum(
        classifier.labels[row] == str(label)
        for row, label in zip(logits.argmax(axis=1), test.labels, strict=True)
    )
    taken = sum(isinstance(each, StepDone) for each in steps)
    return _run(right / len(test.labels), seconds, memory, taken)


def train_transformers(
    train: TrainingWorkload, test: TrainingWorkload, threads: int, seed: int, epochs: int
) -> dict[str, Any]:
    """Train with dynamic padding, the texts grouped by length in the Trainer's own random order."""
    from benchmarks.training.trainer_training import (
        encode,
        load_model,
        quiet,
        training_arguments,
    )

    transformers = peer("transformers")
    peer("torch").set_num_threads(threads)
    quiet(transformers)
    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        tokenizer = transformers.AutoTokenizer.from_pretrained(train.checkpoint)
        trainer = transformers.Trainer(
            model=load_model(train, seed),
            args=training_arguments(
                train,
                Path(scratch),
                epochs,
                seed=seed,
                train_sampling_strategy="group_by_length",
            ),
            train_dataset=encode(tokenizer, train),
            data_collator=transformers.DataCollatorWithPadding(tokenizer),
        )
        trainer.train()
        seconds, memory = time.perf_counter() - began, peak_memory_mb()
        output = trainer.predict(encode(tokenizer, test))
    # With group_by_length the predictions, too, are in another order, as are these labels.
    accuracy = float((output.predictions.argmax(axis=1) == output.label_ids).mean())
    return _run(accuracy, seconds, memory, trainer.state.global_step)


def _run(accuracy: float, seconds: float, memory: float, steps: int) -> dict[str, Any]:
    return {
        "accuracy": accuracy,
        "seconds": seconds,
        "peak_memory_mb": memory,
        "steps": steps,
    }


def _key(name: str, *facts: object) -> str:
    """Digest everything that a kept run depends on; of Isobatch that is its source, too."""
    digest = hashlib.sha256(repr((name, facts)).encode())
    for package in PACKAGES:
        digest.update(installed_version(package).encode())
    if name == ISOBATCH.name:
        for path in sorted(_PACKAGE.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
