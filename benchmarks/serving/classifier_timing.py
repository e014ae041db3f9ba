"""The baseline of the servers: `Classifier` on the same texts, in a process of its own."""

import time
from pathlib import Path
from typing import Any

SINGLE_TEXTS = 100


def time_classifier(folder: Path, precision: str, threads: int, texts: list[str]) -> dict[str, Any]:
    """Time `Classifier.logits` on all texts in seconds, and single texts in milliseconds."""
    from isobatch import Classifier

    classifier = Classifier.from_pretrained(folder, precision=precision, threads=threads)  # type: ignore[arg-type]
    classifier.logits(texts[:100])
    began = time.perf_counter()
    classifier.logits(texts)
    seconds = time.perf_counter() - began
    milliseconds = []
    for text in texts[:SINGLE_TEXTS]:
        began = time.perf_counter()
        classifier(text)
        milliseconds.append((time.perf_counter() - began) * 1e3)
    return {"seconds": seconds, "milliseconds": milliseconds}
