"""Running the gateway until it is told to stop."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
from collections.abc import Callable

import uvloop
from aiohttp import web

from farthing.core.errors import ConfigError
from farthing.gateway.app import create_app
from farthing.gateway.build import open_service
from farthing.gateway.config import Config
from farthing.gateway.service import Service

_BACKLOG = 1024


class _WithoutDetails(logging.Filter):
    """Leaves out what an exception says: of a malformed request it quotes a header."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[0]:
            record.msg = f"{record.getMessage()}: {record.exc_info[0].__name__}"
            record.args, record.exc_info, record.exc_text = (), None, None
        return True


_http_logger = logging.getLogger("farthing.gateway.http")
_http_logger.addFilter(_WithoutDetails())


def run(config: Config, announce: Callable[[str], None]) -> None:
    """Serve `config` until SIGTERM or SIGINT; `announce` gets a line once it is ready.

    On a signal no more connections are taken, and requests in flight and calls whose clients
    have left get `shutdown_s` seconds each; a second signal cuts that short.

    Raises ConfigError, PlanError or LedgerError for what cannot be opened or closed.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(config, announce))


async def serve(config: Config, announce: Callable[[str], None]) -> None:
    """As `run`, in the running loop."""
    stopped, hurried = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        (hurried if stopped.is_set() else stopped).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    service = open_service(config)
    app = web.AppRunner(
        create_app(service),
        access_log=None,
        logger=_http_logger,
        handler_cancellation=True,
        shutdown_timeout=config.gateway.shutdown_s,
    )
    try:
        await service.start()
        await app.setup()
        announce(_ready(await _listen(app, config), service))
        await stopped.wait()
    finally:
        await _close(app, service, config.gateway.shutdown_s, hurried)


async def _close(
    app: web.AppRunner, service: Service, seconds: float, hurried: asyncio.Event
) -> None:
    closing = asyncio.ensure_future(app.cleanup())
    hurry = asyncio.ensure_future(hurried.wait())
    await asyncio.wait({closing, hurry}, return_when=asyncio.FIRST_COMPLETED)
    if hurried.is_set():
        closing.cancel()
    hurry.cancel()
    await asyncio.gather(closing, hurry, return_exceptions=True)
    await service.aclose(0 if hurried.is_set() else seconds)


async def _listen(app: web.AppRunner, config: Config) -> str:
    """Open the port; returns the address as clients write it."""
    host, port = config.gateway.host, config.gateway.port
    try:
        await web.TCPSite(app, host, port, backlog=_BACKLOG).start()
    except socket.gaierror as error:
        raise config.error(f"{host!r} is no address of this machine", "gateway", "host") from error
    except OSError as error:
        raise _cannot_listen(config, error) from error
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{app.addresses[0][1]}"


def _cannot_listen(config: Config, error: OSError) -> ConfigError:
    host, port = config.gateway.host, config.gateway.port
    if error.errno == errno.EADDRINUSE:
        text = f"port {port} on {host} is taken by another program: stop it, or choose another port"
        return config.error(f"{text} (--port, or 0 for any free one)", "gateway", "port")
    if error.errno in (errno.EACCES, errno.EPERM):
        text = f"port {port} may not be opened by this user; ports above 1023 may"
        return config.error(text, "gateway", "port")
    if error.errno == errno.EADDRNOTAVAIL:
        return config.error(f"{host} is no address of this machine", "gateway", "host")
    return config.error(f"cannot listen on {host}:{port}: {error.strerror}", "gateway", "port")


def _ready(address: str, service: Service) -> str:
    plans = f"plans: {', '.join(service.plans)}; " if service.plans else ""
    return f"farthing serves {address}/v1; {plans}models: {', '.join(service.models)}"
