"""UnexpectedErrorMiddleware: the response to an exception that no handler expects.

It is the innermost middleware, so that this response, too, has its request's id, the headers of
CORS and the form of its path; Starlette's own handler is outside all of them.
"""

from asyncio import CancelledError
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from isobatch.serve.http_errors import ErrorCode, RequestError

_CANCELLED = RequestError(
    ErrorCode.SHUTTING_DOWN, "the server shut down before the request was complete. Retry"
)


class UnexpectedErrorMiddleware:
    """Respond by `on_error`, unless the response has begun: then the exception is raised.

    A request that is cancelled because the server ends, such as one whose body has not arrived,
    gets a response, too.
    """

    def __init__(
        self, app: ASGIApp, on_error: Callable[[Request, Exception], Awaitable[Response]]
    ) -> None:
        self._app = app
        self._on_error = on_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        began = False

        async def watched(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except (Exception, CancelledError) as error:
            if began or scope["type"] != "http":
                raise
            # Only the end of the server cancels a request.
            known = _CANCELLED if isinstance(error, CancelledError) else error
            await (await self._on_error(Request(scope), known))(scope, receive, send)
