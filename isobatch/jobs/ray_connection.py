"""Connects to a Ray cluster, or starts a local Ray, and disconnects again."""

import io
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any

from isobatch.drawing.display_text import counted
from isobatch.errors import JobError
from isobatch.extras import needs_extra

SECONDS_TO_CONNECT = 30.0
"""How long a cluster may take to accept a driver."""

CONNECT = """
import logging, sys
import ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.CRITICAL)
except Exception as error:
    while error.__cause__:
        error = error.__cause__
    sys.exit(print((str(error).strip().splitlines() or [type(error).__name__])[-1].strip()) or 1)
"""
"""Script of the process that tries an address: it prints why it could not connect."""


@contextmanager
def connected(address: str | None, num_cpus: int) -> Iterator[Any]:
    """Connect to a cluster, or start a local Ray of `num_cpus`; yields Ray's module.

    OptionError if Ray is not installed, JobError if the connection fails, within a minute. Ray's
    own messages are not shown.
    """
    with needs_extra("ray", "--engine ray"):
        import ray
    if address:
        _try_address(address)
    # Ray prints the death of a worker to stdout, where only data goes.
    with redirect_stdout(io.StringIO()):
        _connect(ray, address, num_cpus)
        try:
            yield ray
        finally:
            ray.shutdown()


def await_room(ray: Any, workers: int, resources: Mapping[str, float], seconds: float) -> None:
    """Raise a JobError unless all workers fit at once; Ray itself would wait silently.

    resources: of one worker, by Ray's names. seconds: how long to wait for them.
    """
    import ray.util as placement

    bundle = {name: number for name, number in resources.items() if number}
    group = placement.placement_group([bundle] * workers)
    try:
        # Not by ray.get, which turns a signal handler's SystemExit into another error.
        group.ready().future().result(timeout=seconds)
    except TimeoutError:
        raise JobError(
            f"Ray has no room for {counted(workers, 'worker')} of {_listed(bundle)} each: it has "
            f"{_listed(ray.cluster_resources())}, of which {_listed(ray.available_resources())} "
            f"are free, after waiting {seconds:g} s. Use fewer resources (--workers, --threads), "
            "free or add some, or wait longer (--ray-wait)"
        ) from None
    finally:
        placement.remove_placement_group(group)


def _connect(ray: Any, address: str | None, num_cpus: int) -> None:
    """Connect, and restore the caller's SIGTERM handler: Ray's would change the exit code."""
    local = {"address": "local", "num_cpus": num_cpus, "include_dashboard": False}
    on_sigterm = signal.getsignal(signal.SIGTERM)
    terminated = False
    try:
        ray.init(
            **({"address": address} if address else local),
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        place = address or "this machine"
        raise JobError(f"cannot connect to Ray at {place}: {root_cause(error)}") from error
    except SystemExit:
        terminated = True
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)
        if terminated:
            os.kill(os.getpid(), signal.SIGTERM)


def _try_address(address: str) -> None:
    """Raise a JobError unless a cluster accepts a driver there.

    Tried in another process with a timeout, because ray.init can hang for minutes.
    """
    host, colon, port = address.rpartition(":")
    try:
        if colon and port.isdecimal():
            socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_CONNECT).close()
        command = [sys.executable, "-c", CONNECT, address]
        subprocess.run(
            command, capture_output=True, check=True, text=True, timeout=SECONDS_TO_CONNECT
        )
    except subprocess.TimeoutExpired:
        reason = f"no response within {SECONDS_TO_CONNECT:g} s"
    except subprocess.CalledProcessError as error:
        reason = error.stdout.strip().rstrip(".")
    except (OSError, OverflowError) as error:
        reason = str(error)
    else:
        return
    raise JobError(
        f"cannot connect to Ray at {address}: {reason}. Use the address that `ray start` printed, "
        "auto for the cluster of this machine, or none for a local Ray"
    )


def root_cause(error: BaseException) -> str:
    """Return the last line of the first cause: Ray's messages hold tracebacks that end with it."""
    while error.__cause__:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[-1].strip().rstrip(".") if lines else type(error).__name__


def _listed(resources: dict[str, Any]) -> str:
    return ", ".join(f"{resources.get(name, 0):g} {name}" for name in ("CPU", "GPU"))
