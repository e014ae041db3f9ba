"""RequestIdMiddleware: a request's X-Request-Id is in its response, so that both can be matched.

Invariant: the log has no part of it; nothing that a client wrote is logged but method and path.
"""

import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NAME = b"x-request-id"
_VALID = re.compile(rb"[!-~]{1,128}")


class RequestIdMiddleware:
    """Repeat an id of up to 128 visible ASCII characters; others are left out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and its id back."""
        own = dict(scope.get("headers", ())).get(_NAME, b"")
        if not _VALID.fullmatch(own):
            await self._app(scope, receive, send)
            return

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (_NAME, own)]
            await send(message)

        await self._app(scope, receive, send_with_id)
