"""TCP ports of this machine's loopback interface."""

import socket
from contextlib import ExitStack

from orchestrator.errors import ConfigurationError

__all__ = ["LOOPBACK", "free_ports", "is_free", "next_free_port", "require_free"]

LOOPBACK = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Different ports on which nothing listens."""
    with ExitStack() as sockets:  # all bound before any is let go, so that none comes twice
        return [sockets.enter_context(_bound(LOOPBACK, 0)).getsockname()[1] for _ in range(count)]


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen there."""
    try:
        _bound(host, port).close()
    except OSError:
        return False
    return True


def next_free_port(first: int, host: str = LOOPBACK) -> int:
    """The first free port from `first` on."""
    return next((port for port in range(first, min(first + 100, 65536)) if is_free(port, host)), 0) or free_ports(1)[0]


def require_free(port: int, setting: str, host: str = LOOPBACK) -> int:
    """The port itself, which the operator asked for by `setting`.

    Raises:
        ConfigurationError: it can't be had.
    """
    try:
        _bound(host, port).close()
    except OSError as error:
        why = f"something else listens on {host}:{port}" if _answers(host, port) else f"{error.strerror}"
        raise ConfigurationError(
            f"port {port} can't be used: {why}",
            remedy=f"Set {setting} to another port or leave it out, or stop what uses it.",
        ) from error
    return port


def _bound(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        # As servers do: a connection that lingers in TIME_WAIT doesn't count. A listener still does.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=0.5).close()
    except OSError:
        return False
    return True
