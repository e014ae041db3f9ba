"""The options of `isobatch serve`; each is also an environment variable.

It imports nothing heavy, so that `--help` answers at once.
"""

from typing import Annotated

import typer

Host = Annotated[
    str, typer.Option(envvar="ISOBATCH_HOST", help="Address; 0.0.0.0 for every interface.")
]
Port = Annotated[
    int, typer.Option(envvar="ISOBATCH_PORT", min=0, max=65535, help="0 takes a free one.")
]
MaxConcurrentRequests = Annotated[
    int,
    typer.Option(
        envvar="ISOBATCH_MAX_CONCURRENT_REQUESTS",
        min=1,
        help="Requests under way; more are refused at once (429).",
    ),
]
MaxClientBatchSize = Annotated[
    int,
    typer.Option(
        envvar="ISOBATCH_MAX_CLIENT_BATCH_SIZE",
        min=1,
        help="Texts in one request; more are refused (422).",
    ),
]
PayloadLimit = Annotated[
    int,
    typer.Option(
        envvar="ISOBATCH_PAYLOAD_LIMIT",
        min=1,
        help="Bytes in the body of a request; more are refused (413).",
    ),
]
MaxWaitMs = Annotated[
    float,
    typer.Option(
        envvar="ISOBATCH_MAX_WAIT_MS",
        min=0,
        help="How long a request may wait for company while the model is free.",
    ),
]
CacheSize = Annotated[
    int, typer.Option(envvar="ISOBATCH_CACHE_SIZE", min=0, help="Answers remembered; 0: none.")
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        envvar="ISOBATCH_API_KEY",
        show_envvar=True,
        help="Ask for it: Authorization: Bearer KEY (401). Other users of the machine can read "
        "what stands on a command line; the environment variable they cannot.",
    ),
]
HealthNeedsKey = Annotated[
    bool,
    typer.Option(
        "--health-needs-key",
        envvar="ISOBATCH_HEALTH_NEEDS_KEY",
        help="Ask for the key at /health and /metrics, too.",
    ),
]
CorsAllowOrigin = Annotated[
    list[str] | None,
    typer.Option(
        envvar="ISOBATCH_CORS_ALLOW_ORIGIN",
        help="An origin whose pages may read answers; may be given several times.",
    ),
]
ServedModelName = Annotated[
    str | None,
    typer.Option(
        envvar="ISOBATCH_SERVED_MODEL_NAME",
        help="What clients call the model; its hub id or the name of its folder if absent.",
    ),
]
JsonOutput = Annotated[
    bool, typer.Option("--json-output", envvar="ISOBATCH_JSON_OUTPUT", help="Logs as JSON lines.")
]
AccessLog = Annotated[
    bool, typer.Option(envvar="ISOBATCH_ACCESS_LOG", help="A line in the log for each request.")
]
ShutdownSeconds = Annotated[
    float,
    typer.Option(
        envvar="ISOBATCH_SHUTDOWN_SECONDS",
        min=1,
        help="How long requests under way may take to end after SIGTERM.",
    ),
]
Revision = Annotated[
    str | None,
    typer.Option(envvar="ISOBATCH_REVISION", help="Branch, tag or commit of a hub id."),
]
Page = Annotated[
    bool,
    typer.Option(
        envvar="ISOBATCH_PAGE",
        help="The page of the lesson at /, which computes what visitors type; never with a key.",
    ),
]
