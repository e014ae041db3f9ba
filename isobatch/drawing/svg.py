"""Charts drawn with matplotlib, as SVG elements for an HTML page.

Invariant: the same drawing gives the same bytes with every matplotlibrc, and matplotlib's settings
are restored. They are global to the process: draw in one thread at a time.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from isobatch.drawing.display_text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, distinguishable with every common kind of colour blindness.
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#595959"


def draw_svg(
    size: tuple[float, float],
    draw: Callable[["Figure"], None],
    name: str,
    description: str,
    theme: Mapping[str, str] | None = None,
) -> str:
    """Render what `draw` draws on a figure of `size` inches as an SVG element.

    `name`, unique on the page, prefixes its ids; `description` is its text alternative. `theme`
    maps colours, as #rrggbb, to those of the page, such as "var(--ink)"; without one the chart
    keeps its colours, for a card that is always light.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    file = io.BytesIO()
    with _fixed_settings():
        figure = Figure(figsize=size)
        FigureCanvasSVG(figure)
        draw(figure)
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=metadata, bbox_inches="tight", pad_inches=0.05)
    return _inline(file.getvalue(), name, description, theme or {})


@contextmanager
def _fixed_settings() -> Iterator[None]:
    """matplotlib's defaults; missing glyphs are left to the fonts of the reader's browser."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.hashsalt": "isobatch", "svg.fonttype": "none"})
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def _inline(svg: bytes, name: str, description: str, theme: Mapping[str, str]) -> str:
    """Strip the namespaces, which HTML does not read, and prefix the ids."""
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        element.tag = _local(element.tag)
        attributes = {_local(key): value for key, value in element.attrib.items()}
        element.attrib = {key: _attribute(key, attributes[key], name, theme) for key in attributes}
    for metadata in root.findall("metadata"):
        root.remove(metadata)
    title = ElementTree.Element("title", {"id": f"{name}-title"})
    title.text = printable(description)
    root.insert(0, title)
    width, height = root.attrib["viewBox"].split()[2:]
    root.attrib = {
        "viewBox": f"0 0 {width} {height}",
        "role": "img",
        "aria-labelledby": f"{name}-title",
        "style": f"width:{float(width) * 4 / 3:.0f}px",
    }
    return ElementTree.tostring(root, encoding="unicode")


def _attribute(key: str, value: str, name: str, theme: Mapping[str, str]) -> str:
    """Rewrite an attribute: ids, references to them, and colours of the theme."""
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return re.sub("^#", f"#{name}-", value)
    if key == "style":
        value = re.sub("#[0-9a-f]{6}", lambda match: theme.get(match[0], match[0]), value)
    return value.replace("url(#", f"url(#{name}-")


def _local(name: str) -> str:
    return name.rpartition("}")[2]
