"""Which routes a server has: those that fit its model answer, the others say which ones do.

Invariant: every path of the API exists on every server, so that the error for a client of another
task names the model's own, never an unknown path.
"""

from collections.abc import Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from isobatch.serve.api_route import ApiRoute
from isobatch.serve.http_errors import ErrorCode, RequestError
from isobatch.serve.served_tasks import missing_for, served_tasks
from isobatch.tasks import Pipeline


def fitting_routes(routes: Iterable[ApiRoute], pipeline: Pipeline[Any]) -> list[ApiRoute]:
    """List the routes that the model fits; of two for one path and method, the first."""
    mine = set(served_tasks(pipeline))
    fitting: dict[tuple[str, str], ApiRoute] = {}
    for route in routes:
        if not route.tasks or mine & set(route.tasks):
            fitting.setdefault((route.path, route.method), route)
    return [*fitting.values()]


def refusing_routes(routes: Iterable[ApiRoute], pipeline: Pipeline[Any]) -> list[ApiRoute]:
    """Make a route that refuses, with 424, for each path that the model does not fit."""
    routes = list(routes)
    fitting = fitting_routes(routes, pipeline)
    taken = {(route.path, route.method) for route in fitting}
    paths = ", ".join(dict.fromkeys(each.path_format for each in fitting if each.tasks))
    refused: dict[tuple[str, str], ApiRoute] = {}
    for route in routes:
        if (place := (route.path, route.method)) not in taken and place not in refused:
            reason = f"{missing_for(route.tasks, pipeline)}. Use {paths}"
            refused[place] = _refusal(route, reason)
    return [*refused.values()]


def _refusal(route: ApiRoute, reason: str) -> ApiRoute:
    async def refuse(request: Request) -> Response:
        raise RequestError(ErrorCode.WRONG_TASK, f"{request.url.path}: {reason}")

    return ApiRoute(route.path, refuse, method=route.method)
