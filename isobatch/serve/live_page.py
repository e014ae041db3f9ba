"""The lesson page, live: GET / is the page, POST /lesson computes what it shows.

Its model is a second one, loaded for the first lesson: the page shows padded batches and attention,
which need plain weights. One lesson is computed at a time, in a thread of its own, so that no
request waits for a lesson; a client that disconnects while it queues has nothing computed.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from isobatch.page import LessonPage, content_security_policy, render_page
from isobatch.serve.api_route import ApiRoute
from isobatch.serve.http_errors import ErrorCode, RequestError
from isobatch.serve.json_body import check_media_type, parse_json
from isobatch.serve.routes.docs import DOCUMENT_HEADERS

ENDPOINT = "/lesson"
EXAMPLE = '{"sentences": ["a text", "another"]}'


def page_routes(folder: Path) -> list[ApiRoute]:
    """Make the routes of the page for the checkpoint in `folder`."""
    html = render_page(endpoint=ENDPOINT)
    headers = {"content-security-policy": content_security_policy(html), **DOCUMENT_HEADERS}
    executor = ThreadPoolExecutor(1, "isobatch-lesson")
    lock = asyncio.Lock()

    @cache
    def load() -> LessonPage:
        return LessonPage.from_pretrained(folder)

    async def show(request: Request) -> Response:
        return HTMLResponse(html, headers=headers)

    async def compute_lesson(request: Request) -> Response:
        # Otherwise any web page could have lessons computed: browsers send a preflight before JSON
        # to another origin, and none before plain text.
        check_media_type(request)
        body = parse_json(await request.body(), EXAMPLE)
        async with lock:
            # The page drops a request when the visitor types on.
            if await request.is_disconnected():
                raise RequestError(ErrorCode.DISCONNECTED, "the client disconnected")
            loop = asyncio.get_running_loop()
            lesson = await loop.run_in_executor(executor, lambda: load().answer(body))
            return JSONResponse(lesson)

    return [ApiRoute("/", show), ApiRoute(ENDPOINT, compute_lesson, method="POST")]
