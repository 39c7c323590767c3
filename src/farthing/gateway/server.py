"""Running the gateway until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import ssl
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvloop
from aiohttp import web

from farthing.core.errors import ConfigError
from farthing.gateway.app import create_app
from farthing.gateway.build import open_service
from farthing.gateway.config import Config
from farthing.gateway.config import load as read_config
from farthing.gateway.connections import KEEPALIVE_S, Connections
from farthing.gateway.door import Doors
from farthing.gateway.listening import address, cannot_listen
from farthing.gateway.logs import OperationLog
from farthing.gateway.metrics import Metrics
from farthing.gateway.model_sections import HttpConfig
from farthing.gateway.reload import Reloader
from farthing.gateway.service import Service
from farthing.gateway.tls import tls_context
from farthing.gateway.watching import WatchedLedger, Watcher

if TYPE_CHECKING:
    from farthing.gateway.traces import Traces

_COLLECTED = (20_000, 20, 100)  # thresholds of gc: what a request leaves is freed without it


class _WithoutDetails(logging.Filter):
    """Leaves out what an exception says: of a malformed request it quotes a header."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[0]:
            record.msg = f"{record.getMessage()}: {record.exc_info[0].__name__}"
            record.args, record.exc_info, record.exc_text = (), None, None
        return True


_http_logger = logging.getLogger("farthing.gateway.http")
_http_logger.addFilter(_WithoutDetails())


def run(
    config: Config,
    announce: Callable[[str], None],
    *,
    read: Callable[[], Config] | None = None,
    worker: bool = False,
) -> None:
    """Serve `config` until SIGTERM or SIGINT; `announce` gets a line once it is ready.

    On a signal no more connections are taken, and requests in flight and calls whose clients
    have left get `shutdown_s` seconds each; a second signal cuts that short. On SIGHUP the
    configuration is read anew, see `Reloader`.

    Args:
        read: the configuration as it is written by then; its file if None.
        worker: whether others listen on the same port. Then it also stops when standard input
            ends, as it does when its parent process dies.

    Raises ConfigError, PlanError or LedgerError for what cannot be opened or closed.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(config, announce, read=read, worker=worker))


async def serve(
    config: Config,
    announce: Callable[[str], None],
    *,
    read: Callable[[], Config] | None = None,
    worker: bool = False,
) -> None:
    """As `run`, in the running loop."""
    stopped, hurried, hung_up = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def stop() -> None:
        (hurried if stopped.is_set() else stopped).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, hung_up.set)
    if worker:
        _stop_without_parent(loop, stopped)
    tls = tls_context(config)
    traces = _traces(config)
    service, connections, metrics = _watched(config, [] if traces is None else [traces])
    app = web.AppRunner(
        create_app(service),
        access_log=None,
        logger=_http_logger,
        handler_cancellation=True,
        shutdown_timeout=config.gateway.shutdown_s,
        keepalive_timeout=KEEPALIVE_S,
    )
    reloader = Reloader(service, config, read or (lambda: read_config(config.path)), tls)
    server: asyncio.Server | None = None
    doors: Doors | None = None
    try:
        await service.start()
        await app.setup()
        assert app.server is not None
        doors = Doors(service, app.server)
        with (
            _collected_seldom(),
            _kept(
                connections.keep(),
                metrics.keep(service.picture),
                _reload_when(hung_up, reloader),
                *(() if service.switch is None else (service.switch.keep(),)),
                *(() if service.certificates is None else (service.certificates.keep(service),)),
            ),
        ):
            server = await _listen(doors, connections, config, tls, worker)
            where = address(config, server.sockets[0].getsockname()[1])
            announce(_ready(where, service))
            await stopped.wait()
    finally:
        if server is not None:
            server.close()
        await _close(app, doors, service, service.config.shutdown_s, hurried)
        await reloader.aclose()
        if traces is not None:
            await asyncio.to_thread(traces.close)


@contextmanager
def _collected_seldom() -> Iterator[None]:
    """The garbage collector passes over what is there by now, and comes more seldom."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTED)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _traces(config: Config) -> Traces | None:
    """What makes spans, if any are wanted; ConfigError without the extra."""
    if not config.gateway.traces:
        return None
    try:
        from farthing.gateway.traces import Traces, provider_from_environment

        provider = provider_from_environment()
    except ImportError:
        raise without_otel(config) from None

    def system(model: str) -> str:
        settings = config.models.get(model)
        return settings.api if isinstance(settings, HttpConfig) else "farthing"

    return Traces(provider, system)


def without_otel(config: Config) -> ConfigError:
    """What is said where traces are wanted, and the extra is not there."""
    message = "OpenTelemetry is not installed: pip install 'farthing[otel]'"
    return config.error(message, "gateway", "traces")


def _watched(config: Config, more: Sequence[Watcher]) -> tuple[Service, Connections, Metrics]:
    """What is served, with what watches it."""
    service, gateway = open_service(config), config.gateway
    metrics = service.metrics = Metrics()
    connections = service.connections = Connections(
        gateway.max_connections, gateway.read_timeout_s, gateway.write_timeout_s
    )
    watchers: list[Watcher] = [metrics, *more]
    if gateway.log != "off":
        watchers.append(OperationLog())
    service.ledger = WatchedLedger(service.ledger, watchers)
    return service.front(), connections, metrics


@contextmanager
def _kept(*works: Coroutine[Any, Any, None]) -> Iterator[None]:
    """Do what has to be done again and again."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()


async def _reload_when(hung_up: asyncio.Event, reloader: Reloader) -> None:
    """Reload whenever the event is set, one reload after the other."""
    while True:
        await hung_up.wait()
        hung_up.clear()
        await reloader.reload()


def _stop_without_parent(loop: asyncio.AbstractEventLoop, stopped: asyncio.Event) -> None:
    source = sys.stdin.fileno()

    def read() -> None:
        loop.remove_reader(source)
        stopped.set()

    loop.add_reader(source, read)


async def _close(
    app: web.AppRunner,
    doors: Doors | None,
    service: Service,
    seconds: float,
    hurried: asyncio.Event,
) -> None:
    shut = [app.cleanup(), *(() if doors is None else (doors.shutdown(seconds),))]
    closing = asyncio.ensure_future(asyncio.gather(*shut))
    hurry = asyncio.ensure_future(hurried.wait())
    await asyncio.wait({closing, hurry}, return_when=asyncio.FIRST_COMPLETED)
    if hurried.is_set():
        closing.cancel()
    hurry.cancel()
    await asyncio.gather(closing, hurry, return_exceptions=True)
    await service.aclose(0 if hurried.is_set() else seconds)


async def _listen(
    doors: Doors,
    connections: Connections,
    config: Config,
    tls: ssl.SSLContext | None,
    shared: bool,
) -> asyncio.Server:
    host, port = config.gateway.host, config.gateway.port
    try:
        return await connections.listen(doors, host, port, tls=tls, shared=shared)
    except OSError as error:
        raise cannot_listen(config, error) from error


def _ready(where: str, service: Service) -> str:
    plans = f"plans: {', '.join(service.plans)}; " if service.plans else ""
    return f"farthing serves {where}/v1; {plans}models: {', '.join(service.models)}"
