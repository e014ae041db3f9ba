"""Every API that gives answers, as functions that load it and call it.

An API is loaded by a context manager; the value is a function without arguments that calls it, and
returns its answer as it comes. `as_bytes` is called outside of the state under test: the conversion
of numbers to text is subject to it too.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from starlette.testclient import TestClient
from tiny_checkpoints import Tiny, write_checkpoint
from tokenizer_folders import write_wordpiece_folder

from isobatch import AutoModelForSequenceClassification, AutoTokenizer, Classifier, pipeline
from isobatch.checkpoint import write_tensors
from isobatch.jobs import FileJob, ModelOptions, ScoringOptions, run_files
from isobatch.model import read_model
from isobatch.serve.app import create_app
from isobatch.tables.file_names import TableFile, detect_format
from isobatch.types import Precision

TEXTS = ["Today is a nice day!", "not sure", "a gripping film, with a cast " * 3, "good film"]

Call = Callable[[], Any]
Loading = Callable[[Path], AbstractContextManager[Call]]


def write_sensitive_checkpoint(folder: Path) -> Path:
    """A tiny checkpoint whose second logit is a subnormal number, which flushing would show."""
    tiny = Tiny("bert", head_dim=16, intermediate_size=128, num_labels=3)
    write_wordpiece_folder(write_checkpoint(folder, tiny), "bert")
    model = read_model(folder)
    with torch.no_grad():
        model.get_parameter("head.output.weight")[1] *= 1e-39
        model.get_parameter("head.output.bias")[1] = 0.0
    write_tensors(folder, model.config.family, dict(model.named_parameters()))
    return folder


@contextmanager
def classifier(folder: Path, precision: Precision = "fp32") -> Iterator[Call]:
    loaded = Classifier.from_pretrained(folder, precision=precision)

    def call() -> object:
        one_text = loaded(TEXTS[0])
        return (one_text, loaded(TEXTS), list(loaded.predict_stream(TEXTS)), *_arrays(loaded))

    yield call


def _arrays(loaded: Classifier) -> tuple[object, ...]:
    return loaded.logits(TEXTS), loaded.predict_proba(TEXTS), loaded.top_k(TEXTS)


@contextmanager
def drop_in(folder: Path, *, attentions: bool = True) -> Iterator[Call]:
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    ids = [row.ids for row in _tokenizer(folder)(TEXTS).encodings]
    length = max(map(len, ids))
    columns = [row + [0] * (length - len(row)) for row in ids]
    mask = [[1] * len(row) + [0] * (length - len(row)) for row in ids]
    inputs = {
        name: torch.tensor(rows, dtype=torch.int64, device="cpu")
        for name, rows in (("input_ids", columns), ("attention_mask", mask))
    }

    def call() -> object:
        plain = model(**inputs).logits
        states = model(**inputs, output_hidden_states=True, output_attentions=attentions)
        return plain, states.logits, *states.hidden_states, *(states.attentions or ())

    yield call


@contextmanager
def text_pipeline(folder: Path) -> Iterator[Call]:
    pipe = pipeline("text-classification", folder, top_k=None)
    yield lambda: (pipe(TEXTS), pipe(TEXTS[0]), pipe(TEXTS, function_to_apply="none"))


@contextmanager
def server(folder: Path) -> Iterator[Call]:
    application = create_app(Classifier.from_pretrained(folder))

    def call() -> object:
        bodies = [
            client.post("/predict", json={"inputs": TEXTS, "raw_scores": raw})
            for raw in (True, False)
        ]
        bodies.append(client.post("/", json={"inputs": TEXTS}))
        return [response.raise_for_status().content for response in bodies]

    with TestClient(application) as client:
        yield call


@contextmanager
def file_job(folder: Path, ending: str = "jsonl") -> Iterator[Call]:
    """It loads the checkpoint when it is called."""
    rows = folder.parent / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    output = folder.parent / f"out.{ending}"

    def call() -> object:
        output.unlink(missing_ok=True)
        files = [TableFile(path, *detect_format(path.name)) for path in (rows, output)]
        options = ScoringOptions(logits=True, scores=True)
        run_files([FileJob((files[0],), files[1], options)], ModelOptions(str(folder)))
        return output.read_bytes()

    yield call


APIS: Mapping[str, Loading] = {
    "Classifier fp32": classifier,
    "Classifier int8": partial(classifier, precision="int8"),
    "drop-in": drop_in,
    "drop-in without attentions": partial(drop_in, attentions=False),
    "pipeline": text_pipeline,
    "server": server,
    "job": file_job,
}


def _tokenizer(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)


def as_bytes(answer: Any) -> bytes:
    """Every number of an answer, exactly."""
    if isinstance(answer, torch.Tensor):
        answer = answer.detach().numpy()
    if hasattr(answer, "tobytes"):
        return bytes(answer.tobytes())
    if isinstance(answer, bytes):
        return answer
    if isinstance(answer, list | tuple):
        return b"\n".join(map(as_bytes, answer))
    return repr(answer).encode()
