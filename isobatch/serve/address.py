"""The socket that the server listens on, or the reason why it cannot, with the fix."""

import errno
import re
import socket

from isobatch.errors import OptionError

_OWN_ADDRESS = "Use an address of this machine: --host 127.0.0.1, or 0.0.0.0 for all interfaces"

_FIXES = {
    errno.EADDRINUSE: "Another process uses it. Choose another --port, or 0 for a free one",
    errno.EACCES: "Ports below 1024 need privileges. Choose a --port from 1024 on, and let a "
    "proxy listen on this one",
    errno.EADDRNOTAVAIL: "This machine has no such address. Use --host 127.0.0.1, or 0.0.0.0 for "
    "all interfaces",
    errno.EAFNOSUPPORT: "This machine has no IPv6. Use --host 127.0.0.1, or 0.0.0.0 for all "
    "interfaces",
}


def bind(host: str, port: int) -> socket.socket:
    """Bind a socket that does not listen yet; port 0 takes a free one.

    host: an IPv4 or IPv6 address, or a name of this machine. Raises OptionError.
    """
    host = _checked(host)
    try:
        family, kind, protocol, _, address = _resolved(host, port)
        # With a protocol, asyncio sets TCP_NODELAY: without it, each response takes 40 ms more.
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise OptionError(cannot_serve(host, port, error)) from error
    except UnicodeError as error:  # by the codec for international names: an empty or long label
        raise OptionError(f"host {host!r} is not an address ({error}). {_OWN_ADDRESS}") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise OptionError(cannot_serve(host, port, error)) from error
    return bound


def cannot_serve(host: str, port: int, error: OSError) -> str:
    """Say why there is no server at this address, and what to change."""
    if isinstance(error, socket.gaierror):
        fix = _OWN_ADDRESS
    else:
        fix = _FIXES.get(error.errno or 0, "Choose another --host or --port")
    return f"cannot serve on {host}, port {port}: {error.strerror}. {fix}"


def _checked(host: str) -> str:
    host = host.strip()
    bare = host.removeprefix("[").removesuffix("]")
    if not host:
        raise OptionError("host is empty, which would mean all interfaces. Use 0.0.0.0 for that")
    if host == "*":
        raise OptionError("host '*': use 0.0.0.0 for all interfaces")
    if "/" in host or re.fullmatch(r"[^:]*:\d*|\[.*\]:\d*", host):
        raise OptionError(
            f"host {host!r} is more than an address. Pass the address alone, such as --host "
            "127.0.0.1, and the port with --port"
        )
    return bare


_Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[object, ...]]


def _resolved(host: str, port: int) -> _Address:
    """Resolve `host`, preferring IPv4, at which clients of `localhost` expect a server."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return min(found, key=lambda each: each[0] != socket.AF_INET)
