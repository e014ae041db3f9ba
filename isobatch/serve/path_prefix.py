"""PathPrefixMiddleware: the server under a path of a proxy, such as /isobatch.

Invariant: a request means the same whether the proxy strips the prefix or passes it on.
"""

from starlette.types import ASGIApp, Receive, Scope, Send


class PathPrefixMiddleware:
    """Take `prefix` off the paths that have it; without it they are unchanged."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its path as the routes have it."""
        path: str = scope.get("path", "")
        if path == self._prefix or path.startswith(f"{self._prefix}/"):
            scope = {**scope, "path": path.removeprefix(self._prefix) or "/"}
        await self._app(scope, receive, send)
