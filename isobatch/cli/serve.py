"""`isobatch serve`: a model over HTTP, compatible with other servers' clients.

Each option is also an environment variable. Nothing heavy is imported until the command runs, so
that `--help` responds at once.
"""

import logging
import os
import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isobatch.batching.plan import CACHED_ENCODINGS, MAX_BATCH_TOKENS
from isobatch.cli import options, options_of_tasks
from isobatch.cli.server_command import exit_now, exiting_on_signals
from isobatch.cli.server_logging import configure_logging
from isobatch.cli.terminal_layout import say
from isobatch.errors import IsobatchError, OptionError
from isobatch.extras import needs_extra
from isobatch.serve.address import bind
from isobatch.serve.log_format import JsonLines
from isobatch.serve.settings import (
    MAX_CLIENT_BATCH_SIZE,
    MAX_CONCURRENT_REQUESTS,
    PAYLOAD_LIMIT,
    Settings,
)

if TYPE_CHECKING:
    from isobatch.serve.server import ServerAddress
    from isobatch.tasks import Pipeline

logger = logging.getLogger("isobatch.serve")

LONGEST_SHUTDOWN = 86_400.0


def _option(variable: str, help_text: str, *names: str, **limits: Any) -> Any:
    """Make an option that is also the environment variable ISOBATCH_`variable`."""
    return typer.Option(*names, envvar=f"ISOBATCH_{variable}", help=help_text, **limits)


Host = Annotated[str, _option("HOST", "Address to listen on; 0.0.0.0 for all interfaces.")]
Port = Annotated[int, _option("PORT", "Port to listen on; 0 for a free one.", min=0, max=65535)]
ServedModelName = Annotated[
    str | None,
    _option(
        "SERVED_MODEL_NAME",
        "Name of the model in requests and responses. Default: its hub id or its folder's name.",
    ),
]
MaxConcurrentRequests = Annotated[
    int,
    _option(
        "MAX_CONCURRENT_REQUESTS",
        "Maximum number of concurrent requests; more are rejected immediately (429).",
        min=1,
    ),
]
MaxClientBatchSize = Annotated[
    int,
    _option(
        "MAX_CLIENT_BATCH_SIZE",
        "Maximum number of texts per request; more are rejected (422).",
        min=1,
    ),
]
PayloadLimit = Annotated[
    int,
    _option(
        "PAYLOAD_LIMIT",
        "Maximum size of a request body in bytes; larger ones are rejected (413).",
        min=1,
    ),
]
MaxWaitMs = Annotated[
    float,
    _option("MAX_WAIT_MS", "Maximum time in ms to wait for more requests to batch with.", min=0),
]
CacheSize = Annotated[
    int,
    _option("CACHE_SIZE", "Maximum number of cached predictions; 0 disables the cache.", min=0),
]
ApiKey = Annotated[
    str | None,
    _option(
        "API_KEY",
        "API key that requests must send as Authorization: Bearer KEY (401). Other users of the "
        "machine can see it on a command line, but not in the environment variable.",
    ),
]
HealthNeedsKey = Annotated[
    bool,
    _option(
        "HEALTH_NEEDS_KEY",
        "Require the API key for /health and /metrics too.",
        "--health-needs-key",
    ),
]
CorsAllowOrigin = Annotated[
    list[str] | None,
    _option("CORS_ALLOW_ORIGIN", "Origin whose pages may read responses; repeat for several."),
]
JsonOutput = Annotated[
    bool,
    _option("JSON_OUTPUT", "Write logs, errors and the line on stdout as JSON.", "--json-output"),
]
AccessLog = Annotated[bool, _option("ACCESS_LOG", "Log a line for each request.")]
ShutdownSeconds = Annotated[
    float,
    _option(
        "SHUTDOWN_SECONDS",
        "Maximum time in seconds for active requests to complete after SIGTERM.",
        min=1,
        max=LONGEST_SHUTDOWN,
    ),
]
Truncation = Annotated[
    str | None,
    _option(
        "TRUNCATION",
        "Texts too long for the model: truncate (cut), reject (error), or read in overlapping "
        "windows (window). Default: cut; window for entities.",
    ),
]
Page = Annotated[
    bool,
    _option(
        "PAGE",
        "Serve the interactive lesson page at /, which loads the model a second time and computes "
        "what visitors type; not with --api-key.",
        "--page",
    ),
]
RootPath = Annotated[
    str,
    _option(
        "ROOT_PATH",
        "Path of the server behind a proxy, such as /isobatch, whether the proxy strips it or not.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeCommand:
    """The options of the command."""

    model: options.ModelArgument = None
    host: Host = "127.0.0.1"
    port: Port = 8080
    served_model_name: ServedModelName = None
    max_concurrent_requests: MaxConcurrentRequests = MAX_CONCURRENT_REQUESTS
    max_client_batch_size: MaxClientBatchSize = MAX_CLIENT_BATCH_SIZE
    payload_limit: PayloadLimit = PAYLOAD_LIMIT
    max_batch_tokens: options.MaxBatchTokensOption = MAX_BATCH_TOKENS
    max_wait_ms: MaxWaitMs = 0.0
    truncation: Truncation = None
    stride: options.StrideOption = None
    window_pooling: options.WindowPoolingOption = None
    cache_size: CacheSize = CACHED_ENCODINGS
    api_key: ApiKey = None
    health_needs_key: HealthNeedsKey = False
    cors_allow_origin: CorsAllowOrigin = None
    json_output: JsonOutput = False
    access_log: AccessLog = True
    shutdown_seconds: ShutdownSeconds = 25.0
    page: Page = False
    root_path: RootPath = ""
    task: options_of_tasks.ServedTask = None
    pooling: options_of_tasks.ServedPooling = None
    normalize: options_of_tasks.ServedNormalize = None
    template: options_of_tasks.ServedTemplate = None
    template_file: options_of_tasks.ServedTemplateFile = None
    true_token: options_of_tasks.ServedTrueToken = None
    false_token: options_of_tasks.ServedFalseToken = None
    precision: options.PrecisionOption = None
    device: options.DeviceOption = "cpu"
    threads: options.ThreadsOption = None
    revision: options.RevisionOption = None
    model_engine: options.ModelEngineOption = "native"


def serve(context: typer.Context, command: ServeCommand) -> None:
    """Serve a model over HTTP: labels, ranks, entities or vectors, depending on the model.

    Logs go to stderr. On SIGTERM, SIGHUP or Ctrl-C active requests are completed, new ones are
    rejected, and the exit code is 0; a second signal ends the process immediately. The server's
    page /docs describes its API.
    """
    del context
    configure_logging(as_json=command.json_output)
    settings = Settings(
        "default" if command.served_model_name is None else command.served_model_name,
        command.max_concurrent_requests,
        command.max_client_batch_size,
        command.payload_limit,
        command.max_batch_tokens,
        max_wait_ms=command.max_wait_ms,
        cache_size=command.cache_size,
        api_key=command.api_key,
        health_needs_key=command.health_needs_key,
        cors_allow_origins=tuple(command.cors_allow_origin or ()),
        access_log=command.access_log,
        page=command.page,
        root_path=command.root_path,
    )
    loading = _loading(command)
    on_ready = partial(_report, as_json=command.json_output)
    # A port in use is reported at once.
    with bind(command.host, command.port) as bound, exiting_on_signals():
        run_server, pipeline, name = _loaded(
            command.model, task=command.task, revision=command.revision, **loading
        )
        settings = settings if command.served_model_name else replace(settings, model_name=name)
        has_ended = run_server(
            pipeline, settings, bound, command.shutdown_seconds, on_ready=on_ready
        )
    if not has_ended:
        exit_now()


def _loading(command: ServeCommand) -> dict[str, Any]:
    """Return the options of `from_pretrained`; those that are not given are the class's own."""
    given = {
        "truncation": options.truncation_of(
            command.truncation, command.stride, command.window_pooling
        ),
        "pooling": command.pooling,
        "normalize": command.normalize,
    }
    ranking = options_of_tasks.answer_options(
        command.template, command.template_file, command.true_token, command.false_token
    )
    return {
        **{name: value for name, value in given.items() if value is not None},
        **ranking,
        "precision": command.precision,
        "device": command.device,
        "threads": command.threads,
        "max_batch_tokens": command.max_batch_tokens,
        "engine": command.model_engine,
    }


def _loaded(
    model: str | None, *, task: Any, revision: str | None, **stated: Any
) -> tuple[Any, "Pipeline[Any]", str]:
    """Import everything heavy and load: `run_server`, the pipeline, and its model's name."""
    with needs_extra("serve", "serving"):
        from isobatch.checkpoint import checkpoint_name, locate_checkpoint
        from isobatch.serve.server import run_server
        from isobatch.tasks import load_pipeline
        from isobatch.tasks.pipeline_loading import stated_or_default
    folder = locate_checkpoint(model, revision)
    if ranking := {"template", "true_token", "false_token"} & stated.keys():
        if task not in (None, "text-classification"):
            raise OptionError(
                f"--{min(ranking).replace('_', '-')} is for rankings, but --task is {task}. Leave "
                "one of them out"
            )
        task = "text-ranking"
    task = task or stated_or_default(folder)
    if task != "feature-extraction" and (alone := {"pooling", "normalize"} & stated.keys()):
        raise OptionError(
            f"--{min(alone)} is for vectors, and the model is for {task}. Leave it out, or add "
            "--task feature-extraction"
        )
    return run_server, load_pipeline(folder, task, **stated), checkpoint_name(model)


def _report(address: "ServerAddress", *, as_json: bool) -> None:
    """Print where the server is. A stdout that cannot be written does not end the server."""
    line = str(address)
    if as_json:
        fields = {"model": address.model, "precision": address.precision, "url": address.url}
        record = logging.makeLogRecord({"levelname": "INFO", "msg": line, "fields": fields})
        line = JsonLines().format(record)
    try:
        (typer.echo if as_json else say)(line)
    except (OSError, IsobatchError, SystemExit) as error:  # full, closed, or without a reader
        logger.warning("stdout cannot be written (%s): %s", error, address)
        if isinstance(error, OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
