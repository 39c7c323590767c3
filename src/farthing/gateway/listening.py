"""The port that clients come in by."""

from __future__ import annotations

import errno
import socket

from farthing.core.errors import ConfigError
from farthing.gateway.config import Config


def address(config: Config, port: int) -> str:
    """Where clients come in, as they write it, if `port` was opened."""
    host, tls = config.gateway.host, config.gateway.tls_cert is not None
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{shown}:{port}"


def held_port(config: Config) -> socket.socket:
    """The port, bound so that other processes can share it; nobody can connect to this socket.

    Raises ConfigError if it cannot be had.
    """
    host, port = config.gateway.host, config.gateway.port
    if not hasattr(socket, "SO_REUSEPORT"):
        unknown = OSError(errno.ENOSYS, "this system cannot share a port between processes")
        raise cannot_listen(config, unknown)
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as alone:  # others may share it as well
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(where)
            alone.listen()
            where = alone.getsockname()
        held = socket.socket(family, kind, protocol)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(where)
        return held
    except OSError as error:
        raise cannot_listen(config, error) from error


def cannot_listen(config: Config, error: OSError) -> ConfigError:
    """What is said of a port that cannot be opened."""
    host, port = config.gateway.host, config.gateway.port
    if isinstance(error, socket.gaierror):
        return config.error(f"{host!r} is no address of this machine", "gateway", "host")
    if error.errno == errno.EADDRINUSE:
        text = f"port {port} on {host} is taken by another program: stop it, or choose another port"
        return config.error(f"{text} (--port, or 0 for any free one)", "gateway", "port")
    if error.errno in (errno.EACCES, errno.EPERM):
        text = f"port {port} may not be opened by this user; ports above 1023 may"
        return config.error(text, "gateway", "port")
    if error.errno == errno.EADDRNOTAVAIL:
        return config.error(f"{host} is no address of this machine", "gateway", "host")
    return config.error(f"cannot listen on {host}:{port}: {error.strerror}", "gateway", "port")
