"""A new configuration for a gateway that runs, without a request lost."""

from __future__ import annotations

import asyncio
import logging
import ssl
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from farthing.core.errors import FarthingError
from farthing.gateway.build import build_service, open_keys
from farthing.gateway.config import Config
from farthing.gateway.service import Models, Service
from farthing.gateway.tls import load_certificate, tls_context
from farthing.models.closing import close_models

logger = logging.getLogger("farthing.gateway")

FIXED = (
    "host",
    "port",
    "max_body_mb",
    "max_connections",
    "read_timeout_s",
    "write_timeout_s",
    "log",
    "traces",
    "store_prompts",
)
"""The keys of [gateway] that need a restart."""


class Reloader:
    """Exchanges what a gateway serves; its ledger, budgets and connections stay.

    Args:
        service: what the application was made with; it passes every request on to what is served
            at the time.
        read: the configuration as it is written now; may raise a FarthingError.
        tls: the certificate in use, which is read anew as well.
    """

    def __init__(
        self,
        service: Service,
        config: Config,
        read: Callable[[], Config],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._service, self._config, self._read, self._tls = service, config, read, tls
        self._lock = asyncio.Lock()
        self._retiring: dict[asyncio.Task[None], list[Any]] = {}

    async def reload(self) -> bool:
        """Read the configuration and put it in force; if anything is wrong, the old one stays.

        Requests that are in flight end as they began. Returns whether it is in force.
        """
        async with self._lock:
            try:
                config = await asyncio.to_thread(self._read)
                new = await asyncio.to_thread(build_service, config)
                await asyncio.to_thread(tls_context, config)
                self._keep(new, config)
                if self._tls is not None and config.gateway.tls_cert is not None:
                    load_certificate(self._tls, config)
            except FarthingError as error:
                logger.error("not reloaded, the configuration stays as it was: %s", error)
                return False
            for text in self._needs_restart(config):
                logger.warning("reloaded, but %s is as it was until a restart", text)
            if new.certificates is not None:
                await new.certificates.tell(new)
            old, self._config = self._service.exchange(new), config
            self._retire(old)
            logger.warning("reloaded %s", config.path)
            return True

    def _keep(self, new: Service, config: Config) -> None:
        """Let `new` go on with what all share."""
        now = self._service
        fixed = {key: getattr(self._config.gateway, key) for key in FIXED}
        new.config = msgspec.structs.replace(config.gateway, **fixed)
        new.share(now)
        if config.gateway.keys:
            new.keys = now.keys or open_keys(self._config)

    def _needs_restart(self, config: Config) -> list[str]:
        was, now = self._config.gateway, config.gateway
        found = [f"gateway.{key}" for key in FIXED if getattr(was, key) != getattr(now, key)]
        if (was.tls_cert is None) != (now.tls_cert is None):
            found.append("gateway.tls_cert")
        if config.ledger != self._config.ledger:
            found.append("[ledger]")
        return found

    def _retire(self, old: Service) -> None:
        assert isinstance(old.models, Models)
        models = list(old.models.values())
        seconds = old.config.request_timeout_s + max(
            (model.card.drain_timeout_s for model in models), default=0.0
        )
        task = asyncio.ensure_future(_unused(old.models, seconds))
        self._retiring[task] = models
        task.add_done_callback(lambda _: asyncio.ensure_future(self._close(task)))

    async def _close(self, task: asyncio.Task[None]) -> None:
        await close_models(self._retiring.pop(task, ()))

    async def aclose(self) -> None:
        """Close what earlier configurations left behind; to be called when all has ended."""
        for task in list(self._retiring):
            await self._close(task)
            task.cancel()


async def _unused(models: Models, seconds: float) -> None:
    """Return when no request holds these models any more, or after `seconds`."""
    gone, loop = asyncio.Event(), asyncio.get_running_loop()

    def tell() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(gone.set)

    weakref.finalize(models, tell).atexit = False
    del models
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await gone.wait()
