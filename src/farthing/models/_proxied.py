"""The way to an upstream through a proxy that the environment names, by aiohttp."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import aiohttp
from yarl import URL

from farthing.models._hop import HopError

_COPY_ABOVE_BYTES = 2**20


class Proxied:
    """See `Hop`; HTTP_PROXY, HTTPS_PROXY and NO_PROXY are obeyed."""

    def __init__(self, headers: Mapping[str, str], *, connect_timeout_s: float) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
            trust_env=True,
            auto_decompress=True,
        )

    async def post(
        self,
        url: URL,
        headers: Mapping[str, str],
        body: bytes,
        *,
        total_s: float | None = None,
        read_s: float | None = None,
    ) -> ProxiedReply:
        """See `Hop`."""
        timeout = aiohttp.ClientTimeout(
            total=total_s, sock_connect=self._connect_timeout_s, sock_read=read_s
        )
        with _as_hop_errors():
            response = await self._session.post(
                url,
                data=io.BytesIO(body) if len(body) > _COPY_ABOVE_BYTES else body,
                headers=headers or None,
                timeout=timeout,
                allow_redirects=False,
            )
        return ProxiedReply(response)

    async def aclose(self) -> None:
        """See `Hop`."""
        await self._session.close()


class ProxiedReply:
    """See `Reply`."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status, self.headers = response.status, response.headers
        self.content_type = response.content_type

    @property
    def complete(self) -> bool:
        """See `Reply`."""
        return self._response.content.at_eof()

    async def read(self) -> bytes:
        """See `Reply`."""
        with _as_hop_errors():
            return await self._response.read()

    async def read_some(self) -> bytes:
        """See `Reply`."""
        with _as_hop_errors():
            return await self._response.content.readany()

    def release(self) -> None:
        """See `Reply`."""
        self._response.release()


@contextmanager
def _as_hop_errors() -> Iterator[None]:
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise HopError("no connection in time") from error
    except TimeoutError as error:
        raise HopError("timeout") from error
    except aiohttp.ClientConnectorError as error:
        reason = error.os_error.strerror or type(error.os_error).__name__
        raise HopError("unreachable", reason) from error
    except aiohttp.ClientResponseError as error:
        raise HopError("malformed") from error
    except (aiohttp.ClientError, OSError) as error:
        raise HopError("cut") from error
