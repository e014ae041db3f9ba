"""The library itself on the servers' texts; to be run in a process of its own."""

import time
from pathlib import Path
from typing import Any

LONE_TEXTS = 100


def time_library(folder: Path, precision: str, threads: int, texts: list[str]) -> dict[str, Any]:
    """Seconds of `Classifier.logits` on all texts, and milliseconds of one text at a time."""
    from isobatch import Classifier

    classifier = Classifier.from_pretrained(folder, precision=precision, threads=threads)  # type: ignore[arg-type]
    classifier.logits(texts[:100])
    began = time.perf_counter()
    classifier.logits(texts)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "milliseconds": [_lone(classifier, t) for t in texts[:LONE_TEXTS]]}


def _lone(classifier: Any, text: str) -> float:
    began = time.perf_counter()
    classifier(text)
    return (time.perf_counter() - began) * 1e3
