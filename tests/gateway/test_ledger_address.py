"""Which ledger a configuration means, and that it is served from PostgreSQL."""

import asyncio
import os
import signal

import aiohttp
import pytest
from sqlalchemy import select

from farthing.core.errors import ConfigError
from farthing.gateway.build import open_service
from farthing.gateway.config import load
from farthing.gateway.ledger_address import ledger_address
from farthing.gateway.server import serve
from farthing.ledger.engines import reading
from farthing.ledger.schema import attempts

TINY = "\n[models.small]\nkind = 'tiny'\nsize = 'small'\n"


def config(folder, text, name="farthing.toml"):
    (folder / name).write_text(text + TINY)
    return load(folder / name)


def test_a_path(tmp_path):
    for text, path in (("", "farthing.db"), ("[ledger]\npath = 'l.db'", "l.db")):
        address, key = ledger_address(config(tmp_path, text))
        assert (address.path, key) == (tmp_path / path, "path")


def test_a_url(tmp_path, monkeypatch):
    address, key = ledger_address(config(tmp_path, "[ledger]\nurl = 'postgresql://ann@db/spend'"))
    assert (str(address), key) == ("postgresql://ann@db/spend", "url")
    monkeypatch.setenv("SPEND_URL", "postgresql://ann:s3cret@db/spend")
    address, key = ledger_address(config(tmp_path, "[ledger]\nurl_env = 'SPEND_URL'"))
    assert (str(address), key) == ("postgresql://ann@db/spend", "url_env")
    assert address.url is not None
    assert address.url.password == "s3cret"


@pytest.mark.parametrize(
    ("line", "key", "says"),
    [
        ("url = 'postgresql://ann:s3cret@db/spend'", "url", "url_env"),
        ("url = 'postgresql://db/spend?password=s3cret'", "url", "url_env"),
        ("url = 'l.db'", "url", "name a file as path"),
        ("url = 'mysql://s3cret@db/spend'", "url", "not mysql://"),
        ("url_env = 'NOT_SET_ANYWHERE'", "url_env", "is not set"),
        ("url_env = 'WRONG_URL'", "url_env", "name a file as path"),
        ("path = 'postgresql://ann:s3cret@db/spend'", "path", "url or url_env"),
        ("path = 'l.db'\nurl_env = 'WRONG_URL'", "url_env", "path and url_env each name"),
    ],
)
def test_mistakes(tmp_path, monkeypatch, line, key, says):
    monkeypatch.setenv("WRONG_URL", "s3cret")
    with pytest.raises(ConfigError, match=says) as caught:
        ledger_address(config(tmp_path, f"[ledger]\n{line}"))
    assert caught.value.key == f"ledger.{key}"
    assert caught.value.line == 1 + len(line.splitlines())
    assert "s3cret" not in str(caught.value)


def test_a_server_that_is_not_there(tmp_path, monkeypatch, postgres_server):
    monkeypatch.setenv("SPEND_URL", "postgresql://ann:s3cret@127.0.0.1:1/spend")
    with pytest.raises(ConfigError, match="cannot open the ledger") as caught:
        open_service(config(tmp_path, "[ledger]\nurl_env = 'SPEND_URL'"))
    assert caught.value.key == "ledger.url_env"
    assert "s3cret" not in str(caught.value)


async def test_a_gateway_makes_its_ledger_on_postgresql(tmp_path, monkeypatch, postgres):
    monkeypatch.setenv("SPEND_URL", postgres)
    settings = config(tmp_path, "[gateway]\nport = 0\n[ledger]\nurl_env = 'SPEND_URL'")
    said = asyncio.Queue()
    task = asyncio.create_task(serve(settings, said.put_nowait))
    async with asyncio.timeout(60), aiohttp.ClientSession() as http:
        url = (await said.get()).split()[2].removesuffix(";")
        ask = {"model": "small", "messages": [{"role": "user", "content": "1 + 2 * 3"}]}
        async with http.post(f"{url}/chat/completions", json=ask) as answer:
            assert answer.status == 200
            operation = answer.headers["x-farthing-operation"]
        with reading(postgres) as connection:  # booked before the answer ended
            booked = connection.execute(select(attempts.c.operation_id, attempts.c.status))
            assert booked.all() == [(operation, "ok")]
        os.kill(os.getpid(), signal.SIGTERM)
        await task
