"""Which ledger a configuration means."""

from __future__ import annotations

import os

from farthing.core.errors import LedgerError
from farthing.gateway.config import Config
from farthing.ledger.address import Address

_DEFAULT = "farthing.db"


def ledger_address(config: Config) -> tuple[Address, str]:
    """Where the ledger of `config` is, and the key of `[ledger]` that says so.

    Raises ConfigError if several keys do, the environment lacks what one names, or a password
    stands in the file.
    """
    told = config.ledger
    given = [key for key in ("path", "url", "url_env") if getattr(told, key) is not None]
    if len(given) > 1:
        raise config.error(
            f"{' and '.join(given)} each name a ledger; keep one of them", "ledger", given[-1]
        )
    if told.url is not None:
        address = _of_url(config, told.url, "url")
        if address.has_password:
            raise config.error(
                "a password does not belong into this file: put the whole URL into an environment "
                'variable and name that, as in url_env = "FARTHING_LEDGER_URL"',
                *("ledger", "url"),
            )
        return address, "url"
    if told.url_env is not None:
        url = os.environ.get(told.url_env, "").strip()
        if not url:
            raise config.error(
                f"environment variable {told.url_env} is not set", "ledger", "url_env"
            )
        return _of_url(config, url, "url_env"), "url_env"
    if told.path is not None and "://" in told.path:
        raise config.error("this is a URL, no path; name it as url or url_env", "ledger", "path")
    return Address(path=config.file(told.path or _DEFAULT)), "path"


def _of_url(config: Config, url: str, key: str) -> Address:
    try:
        address = Address.of(url)
    except LedgerError as error:
        raise config.error(str(error), "ledger", key) from error
    if address.url is None:
        raise config.error(
            "this is no URL such as postgresql://USER@HOST:PORT/DATABASE; name a file as path",
            *("ledger", key),
        )
    return address
