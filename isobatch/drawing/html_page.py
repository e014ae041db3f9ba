"""Self-contained HTML pages, without network access or scripts, rendered from a template.

Every template extends `layout.html`. Invariant: values are escaped, and the same values give the
same bytes.
"""

from collections.abc import Callable, Mapping
from functools import partial
from importlib.resources import files
from typing import Any

from isobatch.drawing.display_text import percent, printable, shortened


def render_html(
    package: str,
    template: str,
    *,
    pictures: Mapping[str, str],
    filters: Mapping[str, Callable[..., object]],
    values: Mapping[str, object],
) -> str:
    """Render the file `template` of `package`.

    `pictures`: SVG elements by name, for the template's `pictures`; `values`: its other variables.
    """
    import jinja2
    import markupsafe

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(partial(_part, package)),
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


def _part(package: str, name: str) -> str:
    """Return the layout, or a template of `package` that others include."""
    return _source("isobatch.drawing" if name == "layout.html" else package, name)


def _source(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text(encoding="utf-8")


def _prose(text: str) -> Any:
    """Mark up `words between backticks` as code."""
    import markupsafe

    parts = printable(text).split("`")
    if len(parts) % 2 == 0:
        return text
    marked = [markupsafe.Markup("<code>{}</code>").format(part) for part in parts[1::2]]
    parts[1::2] = marked
    return markupsafe.Markup("").join(parts)


def _finalize(value: Any) -> Any:
    """Make plain text printable; Markup, a subclass of str, is left unchanged."""
    return printable(value) if type(value) is str else value
