"""A Python function from texts to outputs as a Subject, by the object or by its name.

Invariant: an error of the function is the cause of an AnswerError, and its return values are never
guessed at.
"""

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from isobatch.audit.gradients.training_step import TrainingStep
from isobatch.audit.output_rows import token_rows
from isobatch.audit.subject import AnswerError, Outputs, Subject
from isobatch.audit.targets.output_reader import SAMPLE_TEXTS, OutputReader, look_like_scores
from isobatch.drawing.display_text import counted
from isobatch.errors import OptionError


def subject_of(predict: Callable[[list[str]], Any], name: str | None = None) -> Subject:
    """Wrap a function, a pipeline or any callable that takes a list of texts.

    It is called once, with three texts, to find out before an audit whether its outputs can be
    read, which labels they have, and whether they are scores.
    """
    if not callable(predict):
        raise OptionError(
            f"{predict!r} cannot be called with texts; give a function, or use open_subject()"
        )
    called = name or str(getattr(predict, "__qualname__", type(predict).__name__))
    read = OutputReader(called)

    def checked_predict(texts: Sequence[str]) -> Outputs:
        try:
            value = predict(list(texts))
        except (Exception, SystemExit) as error:  # one that ends the process would end the audit
            if isinstance(error, SystemExit) and type(error) is not SystemExit:
                raise  # not of the function: a signal, for which the command line has a class
            number, kind = counted(len(texts), "text"), type(error).__name__
            raise AnswerError(f"{called}: failed with {number}: {kind}: {error}") from error
        return read(value, len(texts))

    try:
        first = checked_predict(SAMPLE_TEXTS)
    except AnswerError:
        first = checked_predict(SAMPLE_TEXTS[:1])  # a failure in batches only is a finding
    size = read.token_size
    return Subject(
        name=called,
        kind="python",
        predict=checked_predict,
        labels=read.labels,
        gives_scores=look_like_scores(token_rows(first, size) if size else first),
        reads=read.reads,
        token_size=size,
        facts={"function": called, "python": sys.version.partition(" ")[0]},
        truncated=lambda text: _says_truncated(predict([text])),
    )


def _says_truncated(rows: Any) -> bool:
    """Read the mark `truncated` of a Prediction, or of a row that is a mapping."""
    first = rows[0] if isinstance(rows, list | tuple) and rows else None
    marked = first.get("truncated") if isinstance(first, dict) else getattr(first, "truncated", 0)
    return marked is True


def open_python(place: str) -> Subject:
    """Open `module:function`, the function possibly dotted; or the name of a Subject."""
    module_name, _, attribute = place.partition(":")
    if not module_name or not attribute:
        raise OptionError(f"python:{place}: expected python:module:function")
    with _current_folder():
        found = _attribute(_module(module_name), attribute, place)
        if isinstance(found, Subject):
            return found
        if not callable(found):
            raise OptionError(
                f"python:{place}: {attribute} is a {type(found).__name__}; specify a function that "
                "takes a list of texts, or a Subject"
            )
        return subject_of(_in_current_folder(found), place)


def open_python_step(place: str) -> TrainingStep:
    """Open `module:function`, a training step from texts and labels to a gradient."""
    module_name, _, attribute = place.partition(":")
    if not module_name or not attribute:
        raise OptionError(f"python:{place}: expected python:module:function")
    with _current_folder():
        found = _attribute(_module(module_name), attribute, place)
    if not callable(found):
        raise OptionError(
            f"python:{place}: {attribute} is a {type(found).__name__}; specify a function from "
            "texts and labels to the gradient"
        )
    return TrainingStep(_in_current_folder(found), place)


def _in_current_folder(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function for what it imports only when it is called; its arguments stay visible."""

    @wraps(function)
    def called(*given: Any, **named: Any) -> Any:
        with _current_folder():
            return function(*given, **named)

    return called


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            reason = "module not found, neither installed nor in the current folder"
        else:
            reason = f"it imports {error.name}, which is not installed"
        raise OptionError(f"python:{name}: {reason}") from error
    except Exception as error:
        raise OptionError(
            f"python:{name}: importing it failed: {type(error).__name__}: {error}"
        ) from error


def _attribute(module: Any, dotted: str, place: str) -> Any:
    found = module
    for part in dotted.split("."):
        if not hasattr(found, part):
            named = getattr(found, "__name__", type(found).__name__)
            called = [name for name, value in vars(module).items() if callable(value)]
            public = [each for each in called if not each.startswith("_")]
            raise OptionError(
                f"python:{place}: {named} has no {part!r}; the module has {', '.join(public[:20])}"
            )
        found = getattr(found, part)
    return found


@contextmanager
def _current_folder() -> Iterator[None]:
    """Make modules of the current folder importable, as in a script that is in it."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
