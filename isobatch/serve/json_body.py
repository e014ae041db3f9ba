"""The JSON of a request body, or the reason why it is not JSON, with line and column.

Stricter than `json.loads`: no duplicate fields, of which all but one would be ignored, and no NaN
or Infinity, which JSON lacks. A byte order mark is skipped, as in files (RFC 8259, 8.1 allows it).
"""

import json
from typing import Any, NoReturn

from starlette.requests import Request

from isobatch.serve.http_errors import ErrorCode, RequestError
from isobatch.tables.values import has_surrogate

EXAMPLE = '{"inputs": "a text"}'

_UNICODE = ("utf-8", "utf8", "us-ascii", "ascii")
_GZIP = b"\x1f\x8b"


def check_media_type(request: Request) -> None:
    """Raise RequestError unless the body is declared as uncompressed JSON in UTF-8."""
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    if (kind := kind.strip().lower()) != "application/json":
        raise RequestError(
            ErrorCode.MEDIA_TYPE,
            f"unsupported media type (got {kind[:80] or 'none'}). Send JSON with the header "
            "Content-Type: application/json",
        )
    for name, _, value in (each.partition("=") for each in parameters.split(";")):
        charset = value.strip().strip('"').lower()
        if name.strip().lower() == "charset" and charset not in _UNICODE:
            message = f"unsupported charset (got {charset[:40]}). JSON is UTF-8: send that"
            raise RequestError(ErrorCode.MEDIA_TYPE, message)
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", ""):
        message = f"unsupported Content-Encoding (got {coding[:40]}). Send the body uncompressed"
        raise RequestError(ErrorCode.MEDIA_TYPE, message)


def parse_json(content: bytes, example: str = EXAMPLE) -> object:
    """Parse a body. Raises RequestError (422); `example` is what it names for an empty one."""
    if not content.strip():
        _refuse(f"the body is empty. Send a JSON object, such as {example}")
    try:
        return _DECODER.decode(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        if content.startswith(_GZIP):
            _refuse("the body is compressed with gzip. Send it uncompressed")
        start = len(content) - len(error.object) + error.start  # the codec skips the mark
        found = f"byte {start} is 0x{content[start]:02X}"
        _refuse(f"the body is not UTF-8 ({found}). Encode the JSON as UTF-8")
    except json.JSONDecodeError as error:
        reason = error.msg[:1].lower() + error.msg[1:]
        _refuse(f"the body is not JSON: line {error.lineno}, column {error.colno}: {reason}")
    except RecursionError:
        _refuse("the body is nested too deeply. Send a JSON object, such as " + example)
    except ValueError:  # int() of more than 4,300 digits
        _refuse("the body has a number with too many digits")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object's dict; raises RequestError if two fields have one name, or it is invalid."""
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            _refuse(f"field {name[:40]!r} appears twice. Send it once")
        if not name.isascii() and has_surrogate(name):
            _refuse(f"the name of field {name[:40]!r} is not valid Unicode (a lone surrogate)")
        fields[name] = value
    return fields


def _constant(name: str) -> NoReturn:
    _refuse(f"the body is not JSON: {name} is not a JSON number")


def _refuse(message: str) -> NoReturn:
    raise RequestError(ErrorCode.VALIDATION, message) from None


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
