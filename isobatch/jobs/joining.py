"""Joining a Ray cluster, or starting a Ray of this machine's own, and leaving it again.

It knows no jobs. Invariant: whatever is wrong with an address is one JobError within a minute, and
what Ray has to say of itself is not seen.
"""

import io
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from isobatch.errors import JobError, OptionError

SECONDS_TO_ANSWER = 30.0
"""How long a cluster may take to let a driver join."""

JOINING = """
import logging, sys
import ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.CRITICAL)
except Exception as error:
    while error.__cause__:
        error = error.__cause__
    sys.exit(print((str(error).strip().splitlines() or [type(error).__name__])[-1].strip()) or 1)
"""
"""What the process does that tries an address: it prints why it could not join."""


@contextmanager
def joined(address: str | None, num_cpus: int) -> Iterator[Any]:
    """Ray's module, joined to a cluster, or to a Ray of `num_cpus` that ends with the context.

    OptionError if Ray is not installed, JobError if it cannot be joined.
    """
    try:
        import ray
    except ImportError as error:
        raise OptionError(
            f"--engine ray needs Ray ({error}); install it: pip install isobatch[ray]"
        ) from error
    if address:
        _refuse_bad_address(address)
    # Ray prints the death of a worker to stdout, where only data goes.
    with redirect_stdout(io.StringIO()):
        _join(ray, address, num_cpus)
        try:
            yield ray
        finally:
            ray.shutdown()


def _join(ray: Any, address: str | None, num_cpus: int) -> None:
    """Join, and keep the caller's handler of SIGTERM: Ray's own would change the exit code."""
    local = {
        "address": "local",
        "num_cpus": num_cpus,
        "include_dashboard": False,
    }
    on_sigterm = signal.getsignal(signal.SIGTERM)
    terminated = False
    try:
        ray.init(
            **({"address": address} if address else local),
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise JobError(
            f"Ray cannot be joined at {address or 'this machine'}: {root_of(error)}"
        ) from error
    except SystemExit:
        terminated = True
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)
        if terminated:
            os.kill(os.getpid(), signal.SIGTERM)


def _refuse_bad_address(address: str) -> None:
    """JobError unless a cluster answers there; another process tries, for Ray would for minutes."""
    cure = (
        "give the address that `ray start` printed, auto for the cluster that this machine is "
        "of, or none for a Ray of its own"
    )
    host, colon, port = address.rpartition(":")
    try:
        if colon and port.isdecimal():
            socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()
        command = [sys.executable, "-c", JOINING, address]
        subprocess.run(
            command, capture_output=True, check=True, text=True, timeout=SECONDS_TO_ANSWER
        )
    except subprocess.TimeoutExpired:
        reason = f"no cluster answered in {SECONDS_TO_ANSWER:g} s"
    except subprocess.CalledProcessError as error:
        reason = error.stdout.strip().rstrip(".")
    except (OSError, OverflowError) as error:
        reason = str(error)
    else:
        return
    raise JobError(f"Ray cannot be joined at {address}: {reason}; {cure}")


def root_of(error: BaseException) -> str:
    """The last line of what began it: Ray hides tracebacks in messages, the reason comes last."""
    while error.__cause__:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[-1].strip().rstrip(".") if lines else type(error).__name__
