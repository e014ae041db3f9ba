"""Rendering of LessonData as one HTML file that contains its template, styles, scripts and data.

Invariant: nothing on the page comes from elsewhere, only the styles and scripts of this package
run, and the same data gives the same bytes.
"""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files

from isobatch.errors import OptionError
from isobatch.extras import needs_extra
from isobatch.lesson import SENTENCES
from isobatch.page.lesson_data import LessonData
from isobatch.page.lesson_page import MAX_SENTENCES

SCRIPTS = (
    "vendor/d3.v7.min.js",
    "numbers.js",
    "elements.js",
    "tooltip.js",
    "sentences.js",
    "token_grid.js",
    "heat_map.js",
    "attention.js",
    "logits.js",
    "strip_plot.js",
    "random_batches.js",
    "move_histogram.js",
    "mask_cost.js",
    "model_info.js",
    "live.js",
    "page.js",
)
"""In execution order; each defines one global for the scripts after it."""

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def render_page(data: LessonData | None = None, endpoint: str | None = None) -> str:
    """Render the page as one HTML file.

    With an `endpoint` the sentences can be edited: the page, at the root of its server, POSTs them
    to this path of the same server, under a proxy's prefix if there is one, as JSON (see
    `LessonPage.answer`) and draws the response. Without one it shows `data` and names the command
    that serves a live page. Raises OptionError if both are missing, or jinja2 is.
    """
    if data is None and endpoint is None:
        raise OptionError("a page needs data to show, or an endpoint to request it from")
    if endpoint is not None and not re.fullmatch(r"/(?!/)[\w./-]*", endpoint):
        raise OptionError(
            f"endpoint must be a path on this server, such as /lesson (got {endpoint!r})"
        )
    with needs_extra("serve", "the page"):
        import jinja2
        import markupsafe
    live = endpoint is not None
    style, scripts = _web_file("page.css"), [_web_file(name) for name in SCRIPTS]
    payload: dict[str, object] = {
        "endpoint": endpoint,
        "data": None if data is None else asdict(data),
        "sentences": list(SENTENCES),
        "maxSentences": MAX_SENTENCES,
    }
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_web_file("page.html")).render(
        policy=_policy([style], scripts, live=live),
        style=markupsafe.Markup(style),
        scripts=[markupsafe.Markup(script) for script in scripts],
        payload=markupsafe.Markup(_json_in_html(payload)),
        live=live,
    )


def content_security_policy(html: str) -> str:
    """Derive the Content-Security-Policy header of a page rendered with an endpoint.

    The policy of the page's own meta element, plus `frame-ancestors`, which only a header can set.
    """
    styles = [text for kind, text in _INLINE.findall(html) if kind == "style"]
    scripts = [text for kind, text in _INLINE.findall(html) if kind == "script"]
    return _policy(styles, scripts, live=True) + "; frame-ancestors 'none'"


def _policy(styles: Sequence[str], scripts: Sequence[str], *, live: bool) -> str:
    directives = [
        "default-src 'none'",
        "script-src " + " ".join(map(_hash, scripts)),
        "style-src " + " ".join(map(_hash, styles)),
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
        *(["connect-src 'self'"] if live else []),
    ]
    return "; ".join(directives)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _json_in_html(payload: dict[str, object]) -> str:
    """Serialize to JSON that cannot close the surrounding element, even from within a string."""
    text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _web_file(name: str) -> str:
    return files("isobatch.page").joinpath("web", name).read_text(encoding="utf-8")
