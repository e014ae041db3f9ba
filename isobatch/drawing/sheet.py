"""The sheet: one HTML file that needs no network and no script, filled from a template.

`sheet.html` has what all reports share; a template extends it. It knows no file that it is written
to. Invariant: what comes from outside is escaped, and the same values give the same bytes.
"""

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

from isobatch.drawing.words import percent, printable, shortened


def render_sheet(
    package: str,
    template: str,
    *,
    pictures: Mapping[str, str],
    filters: Mapping[str, Callable[..., object]],
    values: Mapping[str, object],
) -> str:
    """The page that the file `template` of `package` describes.

    `pictures`: each an SVG element by its name; `values`: all else, under its own name.
    """
    import jinja2
    import markupsafe

    environment = jinja2.Environment(
        loader=jinja2.DictLoader({"sheet.html": _source("isobatch.drawing", "sheet.html")}),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(percent=percent, shortened=shortened, prose=_prose, **filters)
    drawn = {name: markupsafe.Markup(svg) for name, svg in pictures.items()}
    return environment.from_string(_source(package, template)).render(pictures=drawn, **values)


def _source(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text(encoding="utf-8")


def _prose(text: str) -> Any:
    """Text in which `words between backticks` are code."""
    import markupsafe

    parts = printable(text).split("`")
    if len(parts) % 2 == 0:
        return text
    marked = [markupsafe.Markup("<code>{}</code>").format(part) for part in parts[1::2]]
    parts[1::2] = marked
    return markupsafe.Markup("").join(parts)


def _finalize(value: Any) -> Any:
    """Make plain text printable; markup is a str too, but not of this exact type."""
    return printable(value) if type(value) is str else value
