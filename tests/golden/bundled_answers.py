"""The answers of the bundled model that every machine must give, and how bundled.json is written.

`python tests/golden/bundled_answers.py` rewrites the file, from the root of the repository: only
with a new name of the arithmetic, or another bundled model.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from isobatch import Classifier
from isobatch.types import Precision, TextInput

FILE = Path(__file__).with_name("bundled.json")
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")

TEXTS: Mapping[str, TextInput] = {
    "positive": "Today is a nice day!",
    "negative": "The plot is thin, the jokes are old, and I left after an hour.",
    "empty": "",
    "space": " \t\n ",
    "one letter": "a",
    "special tokens": "[CLS] [PAD] [MASK] [SEP]",
    "unicode": "Café naïve: l'été n'est pas fini — 今日 は good 😀",
    "combining": "e\u0301 \u200d \ufb01ne \u00ad A\u030a",
    "numbers": "3.14 % of 2,718 or 1e-7? $9.99",
    "pair": ("a question", "its answer"),
    "65 tokens": "very " * 63,
    "cut": "A gripping film, with a cast that is better than its plot. " * 60,
}
"""By name; "cut" has more than 512 tokens."""

SHORT = ["positive", "empty", "unicode", "pair"]
"""Those for `reference`, which takes 30 ms for each token."""


def answers(classifier: Classifier, names: Iterable[str] = TEXTS) -> dict[str, dict[str, object]]:
    """Return for each text the SHA-256 of its logits, little-endian float32, and its scores."""
    chosen = list(names)
    found: dict[str, dict[str, object]] = {}
    for name, prediction in zip(chosen, classifier([TEXTS[each] for each in chosen]), strict=True):
        logits = np.array(prediction.logits, "<f4").tobytes()
        found[name] = {
            "num_tokens": prediction.num_tokens,
            "logits": hashlib.sha256(logits).hexdigest(),
            "scores": [score.hex() for score in prediction.scores.values()],
        }
    return found


def write() -> None:
    """Write bundled.json from the answers of this machine."""
    content: dict[str, object] = {}
    for precision in PRECISIONS:
        classifier = Classifier.from_pretrained(precision=precision)
        content |= {"arithmetic": classifier.arithmetic, precision: answers(classifier)}
    FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
