"""The lesson's page, live: GET / is the page, POST /lesson computes what it shows.

`page` knows what is computed and drawn; here is its HTTP. Its model, which holds plain weights, is
loaded when the first lesson is asked for. Invariant: one lesson is computed at a time, in a thread
that is not the model's, so that requests wait for no lesson; whoever left the line gets none.
"""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from isobatch.page import LessonPage, content_security_policy, render_page
from isobatch.serve.dialects.route import check_media_type
from isobatch.serve.errors import ClientGoneError, MalformedError

ENDPOINT = "/lesson"


def lesson_router(folder: Path) -> APIRouter:
    """The routes of the page for the checkpoint in `folder`."""
    router = APIRouter(include_in_schema=False)
    html = render_page(endpoint=ENDPOINT)
    headers = {
        "content-security-policy": content_security_policy(html),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }
    computing = ThreadPoolExecutor(1, "isobatch-lesson")
    line = asyncio.Lock()

    @cache
    def page() -> LessonPage:
        return LessonPage.from_pretrained(folder)

    def answer(body: object) -> dict[str, Any]:
        return page().answer(body)

    @router.get("/")
    async def show() -> Response:
        return HTMLResponse(html, headers=headers)

    @router.post(ENDPOINT)
    async def compute(request: Request) -> Response:
        # Without this any page on the web could have lessons computed: a browser asks for leave
        # before it sends JSON to another origin, and not before it sends plain text.
        check_media_type(request)
        body = _parse(await request.body())
        loop = asyncio.get_running_loop()
        async with line:
            # Whoever types on has dropped what was asked before.
            if await request.is_disconnected():
                raise ClientGoneError("the client has gone")
            return JSONResponse(await loop.run_in_executor(computing, partial(answer, body)))

    return router


def _parse(content: bytes) -> object:
    try:
        body: object = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"the body is no JSON: {error}") from None
    return body
