"""The options of tasks, each declared once for all commands; help shows a group for each task.

Imports neither torch nor NumPy, so that `--help` is fast. TaskOptions decides which option is for
which task.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from isobatch.cli import options
from isobatch.errors import OptionError
from isobatch.tables import UTF8, decode_lines, stream_lines

RERANKERS, ZERO_SHOT, ENTITIES, VECTORS = "Rerankers", "Zero-shot", "Entities", "Vectors"

TaskName = Literal["text-classification", "token-classification", "feature-extraction"]
PoolingName = Literal["cls", "last", "mean", "max"]


def _option(group: str, help_text: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=help_text, rich_help_panel=group, **more)


def _pooling(**more: Any) -> Any:
    said = "How token vectors are pooled into one. Default: as the checkpoint's files say."
    return _option(VECTORS, said, **more)


def _normalize(**more: Any) -> Any:
    said = (
        "Divide each vector by its norm, or leave it unchanged. Default: as the checkpoint's files "
        "say."
    )
    return _option(VECTORS, said, "--normalize/--no-normalize", **more)


_RANKED = "the text that the model reads, with {query} and {text}, as its card says."


def _ranked_template(**more: Any) -> Any:
    return _option(RERANKERS, f"Language model: {_RANKED}", metavar="TEXT", **more)


def _template_file(**more: Any) -> Any:
    said = "File with the template, which is read unchanged, newlines included."
    return _option(RERANKERS, said, metavar="FILE", **more)


def _true_token(**more: Any) -> Any:
    said = "Language model: the token of its vocabulary that answers yes; the score is its logit."
    return _option(RERANKERS, said, metavar="TOKEN", **more)


def _false_token(**more: Any) -> Any:
    said = "Language model: the token that answers no, whose logit is subtracted."
    return _option(RERANKERS, said, metavar="TOKEN", **more)


Query = Annotated[
    str | None,
    _option(RERANKERS, "The query that each row is scored for; adds only a score.", metavar="TEXT"),
]
QueryColumn = Annotated[
    str | None,
    _option(RERANKERS, "Column of queries: the text of each row is scored for the query there."),
]
Labels = Annotated[
    list[str] | None,
    _option(
        ZERO_SHOT,
        "The labels to choose from, separated by commas; one with a comma in quotation marks. Can "
        "be repeated.",
        "--labels",
        metavar="A,B,C",
    ),
]
LabelsFile = Annotated[
    Path | None,
    _option(ZERO_SHOT, "The labels, one on each line.", "--labels-file", metavar="FILE"),
]
LabelsColumn = Annotated[
    str | None,
    _option(
        ZERO_SHOT,
        "Column of the labels of each row: a list, or a text with JSON or with commas between the "
        "labels.",
    ),
]
Template = Annotated[
    str | None,
    _option(
        ZERO_SHOT,
        "The hypothesis, with {} in place of the label. Default: This example is {}. Reranker: "
        + _RANKED,
        metavar="TEXT",
    ),
]
RankingTemplate = Annotated[str | None, _ranked_template()]
TemplateFile = Annotated[Path | None, _template_file()]
TrueToken = Annotated[str | None, _true_token()]
FalseToken = Annotated[str | None, _false_token()]
ServedTemplate = Annotated[str | None, _ranked_template(envvar="ISOBATCH_TEMPLATE")]
ServedTemplateFile = Annotated[Path | None, _template_file(envvar="ISOBATCH_TEMPLATE_FILE")]
ServedTrueToken = Annotated[str | None, _true_token(envvar="ISOBATCH_TRUE_TOKEN")]
ServedFalseToken = Annotated[str | None, _false_token(envvar="ISOBATCH_FALSE_TOKEN")]
MultiLabel = Annotated[
    bool, _option(ZERO_SHOT, "Score each label by itself; several may fit.", "--multi-label")
]
AGGREGATION = _option(ENTITIES, "How tokens are joined, as in transformers. Default: simple.")
Aggregation = Annotated[Literal["none", "simple", "first", "average", "max"] | None, AGGREGATION]
Pooling = Annotated[PoolingName | None, _pooling()]
ServedPooling = Annotated[PoolingName | None, _pooling(envvar="ISOBATCH_POOLING")]
Normalize = Annotated[bool | None, _normalize()]
ServedNormalize = Annotated[bool | None, _normalize(envvar="ISOBATCH_NORMALIZE")]
PromptName = Annotated[
    str | None,
    _option(
        VECTORS,
        "One of the checkpoint's prompts, such as query, to put in front of each text.",
    ),
]
Prompt = Annotated[
    str | None, _option(VECTORS, "Text to put in front of each text, unchanged.", metavar="TEXT")
]
ServedTask = Annotated[
    TaskName | None,
    typer.Option(
        envvar="ISOBATCH_TASK",
        help="Task of the model. Default: the one that its files name, or text-classification.",
    ),
]


def given_labels(labels: list[str] | None, file: Path | None) -> tuple[str, ...]:
    """Return the labels of --labels or of --labels-file; () if neither is given.

    OptionError for both, for a file that cannot be read, and for none in what is given.
    """
    if labels is not None and file is not None:
        raise OptionError("--labels and --labels-file both name the labels. Leave one out")
    if labels is None and file is None:
        return ()
    found = [each for line in labels or () for each in options.names_of("--labels", line)]
    if file is not None:
        found = [line for line in _lines(file) if line.strip()]
    if not found:
        option = "--labels" if file is None else f"--labels-file {file}"
        raise OptionError(f"{option}: has no label. Specify at least one")
    return tuple(label.strip() for label in found)


def answer_options(
    template: str | None,
    template_file: Path | None,
    true_token: str | None,
    false_token: str | None,
) -> dict[str, str]:
    """Return those that are given, as Reranker.from_pretrained takes them.

    Raises OptionError for two templates, and for a file that cannot be read.
    """
    values = {
        "template": stated_template(template, template_file),
        "true_token": true_token,
        "false_token": false_token,
    }
    return {name: value for name, value in values.items() if value is not None}


def stated_template(template: str | None, path: Path | None) -> str | None:
    """Return the template, from its file where one is named; None for neither.

    Raises OptionError for both, and for a file that cannot be read.
    """
    if path is None:
        return template
    if template is not None:
        raise OptionError("--template and --template-file both have the template. Leave one out")
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise OptionError(f"--template-file {path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise OptionError(f"--template-file {path}: is not UTF-8. Save it as UTF-8") from error


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            return list(decode_lines(stream_lines(file, str(path), UTF8), str(path), UTF8))
    except OSError as error:
        raise OptionError(
            f"--labels-file {path}: cannot be read: {error.strerror}. Check its name"
        ) from error
