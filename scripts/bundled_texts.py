"""Write the texts that the bundled model and its teacher are trained on, from the phrases of SST-2.

    python -m scripts.bundled_texts FOLDER OUT

FOLDER contains train.tsv and dev.tsv (columns sentence, label). The training part of SST-2 consists
of sentences and their phrases, so a phrase of a held-out sentence would leak its label. Invariant:
no text of the other files is part of a sentence of held_out.tsv, unless it is also part of another
sentence. dev.tsv is for measuring: only the teacher is trained on long phrases of it.
"""

import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

Row = tuple[str, ...]
LABELS = {"0": "NEGATIVE", "1": "POSITIVE"}
SEED = 7
NUM_HELD_OUT = 872
LEAST_WORDS_HELD_OUT = 6
LEAST_WORDS_OF_TEACHER = 10
NUM_UNLABELLED = 40_000
LEAST_WORDS_UNLABELLED = 5


def main(folder: Path, out: Path) -> None:
    train, dev = read_rows(folder / "train.tsv"), read_rows(folder / "dev.tsv")
    generator = random.Random(SEED)
    sentences = whole_sentences(train)
    held_out = generator.sample(
        [row for row in sentences if num_words(row) >= LEAST_WORDS_HELD_OUT], NUM_HELD_OUT
    )
    hidden = {text for text, _ in held_out}
    visible = {
        part for text, _ in sentences if text not in hidden for part in (text, *proper_spans(text))
    }
    labelled, more = ([row for row in rows if row[0] in visible] for rows in (train, dev))
    long = [row for row in (*labelled, *more) if num_words(row) >= LEAST_WORDS_OF_TEACHER]
    write_rows(out / "held_out.tsv", ("sentence", "label"), held_out)
    write_rows(out / "labelled.tsv", ("sentence", "label"), labelled)
    write_rows(out / "teacher.tsv", ("sentence", "label"), long)
    seen = {text for text, _ in (*train, *dev)}
    new = sorted(text for text in visible - seen if len(text.split()) >= LEAST_WORDS_UNLABELLED)
    unlabelled = [(text,) for text in generator.sample(new, NUM_UNLABELLED)]
    write_rows(out / "unlabelled.tsv", ("sentence",), unlabelled)


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a file with the header `sentence<TAB>label`, and name their labels."""
    rows = path.read_text(encoding="utf-8").splitlines()[1:]
    return [(text.strip(), LABELS[label]) for text, label in (row.rsplit("\t", 1) for row in rows)]


def write_rows(path: Path, header: Row, rows: Iterable[Row]) -> None:
    lines = ("\t".join(row) + "\n" for row in (header, *rows))
    path.write_text("".join(lines), encoding="utf-8")


def num_words(row: Row) -> int:
    return len(row[0].split())


def whole_sentences(rows: Sequence[Row]) -> list[Row]:
    """Return the rows whose text is part of no other text."""
    parts = {part for text, _ in rows for part in proper_spans(text)}
    return [row for row in rows if row[0] not in parts]


def proper_spans(text: str) -> Iterator[str]:
    """Yield every span of words of `text` but the whole."""
    words = text.split()
    for start in range(len(words)):
        for end in range(start + 1, len(words) + 1):
            if end - start < len(words):
                yield " ".join(words[start:end])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
