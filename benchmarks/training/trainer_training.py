"""The Trainer of `transformers` on the same texts: dynamic padding, or all texts padded to 128."""

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.engines import peer
from benchmarks.training.workloads import BATCH_SIZE, SEED, TrainingWorkload

PADDED_LENGTH = 128
"""max_seq_length of run_classification.py, to which it pads by default."""

OnStep = Callable[[int, int], None]


def train(workload: TrainingWorkload, threads: int, scratch: Path, on_step: OnStep) -> None:
    """Train with DataCollatorWithPadding: a batch is as wide as its longest text."""
    _train(workload, threads, scratch, on_step, fixed_length=False)


def train_padded_to_128(
    workload: TrainingWorkload, threads: int, scratch: Path, on_step: OnStep
) -> None:
    """Train as run_classification.py does by default."""
    _train(workload, threads, scratch, on_step, fixed_length=True)


def _train(
    workload: TrainingWorkload, threads: int, scratch: Path, on_step: OnStep, *, fixed_length: bool
) -> None:
    transformers = peer("transformers")
    peer("torch").set_num_threads(threads)
    quiet(transformers)
    tokenizer = transformers.AutoTokenizer.from_pretrained(workload.checkpoint)
    pad = transformers.DataCollatorWithPadding(tokenizer)
    counted = CountedBatches(transformers.default_data_collator if fixed_length else pad)

    class Steps(transformers.TrainerCallback):  # type: ignore[misc, name-defined]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            on_step(*counted.counts.popleft())

    trainer = transformers.Trainer(
        model=load_model(workload),
        args=training_arguments(workload, scratch, epochs=1, train_sampling_strategy="sequential"),
        train_dataset=encode(tokenizer, workload, padding="max_length" if fixed_length else False),
        data_collator=counted,
        callbacks=[Steps()],
    )
    trainer.train()


def quiet(transformers: Any) -> None:
    """Turn off reports and progress bars."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


class CountedBatches:
    """A collator that notes the tokens of each batch: the real ones, and those with padding."""

    def __init__(self, collator: Callable[[Any], Any]) -> None:
        self._collator = collator
        self.counts: deque[tuple[int, int]] = deque()

    def __call__(self, rows: Any) -> Any:
        batch = self._collator(rows)
        mask = batch["attention_mask"]
        self.counts.append((int(mask.sum()), mask.numel()))
        return batch


def load_model(workload: TrainingWorkload, seed: int = SEED) -> Any:
    """Load the checkpoint, with a new head where it has another number of labels."""
    transformers = peer("transformers")
    transformers.set_seed(seed)
    return transformers.AutoModelForSequenceClassification.from_pretrained(
        workload.checkpoint, num_labels=workload.num_labels, ignore_mismatched_sizes=True
    )


def encode(
    tokenizer: Any, workload: TrainingWorkload, padding: str | bool = False
) -> Sequence[dict[str, Any]]:
    """Tokenize all texts before the training."""
    limit = PADDED_LENGTH if padding else 512
    texts = list(workload.texts)
    encoded = tokenizer(texts, padding=padding, max_length=limit, truncation=True)
    return [
        {**{name: rows[number] for name, rows in encoded.items()}, "label": label}
        for number, label in enumerate(workload.labels)
    ]


def training_arguments(
    workload: TrainingWorkload, scratch: Path, epochs: int, **others: object
) -> Any:
    """Give the Trainer our batch size, rate, schedule, decay and clipping; the rest is default."""
    return peer("transformers").TrainingArguments(
        output_dir=str(scratch),
        per_device_train_batch_size=BATCH_SIZE,
        num_train_epochs=epochs,
        learning_rate=workload.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=0.1,
        weight_decay=0.01,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        **others,
    )
