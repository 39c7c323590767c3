"""What clients are told while the ledger cannot be written."""

import sqlite3
from contextlib import closing

import pytest
from fakes import fake_upstream

from farthing.core.errors import ConfigError
from farthing.gateway.build import open_service
from farthing.gateway.config import load
from farthing.gateway.ledger_options import ledger_options
from farthing.ledger import Ledger, _writer

CONFIG = """
[models.gpt]
kind = "http"
base_url = "{url}"
[ledger]
"""


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    for wait in ("_LOCKED_S", "_PATIENCE_S", "_RETRY_S"):
        monkeypatch.setattr(_writer, wait, 0.02)


async def told(gateway):
    async with gateway.http.get("/healthz") as response:
        body = await response.json()
        return response.status, body["status"], body["ledger"]


async def test_nothing_is_called_while_the_ledger_is_away(gateway, tmp_path, monkeypatch, caplog):
    gateway.service.ledger = ledger = Ledger.open(tmp_path / "l.db")
    assert await told(gateway) == (200, "ok", "ok")
    connect = ledger._running._connect

    def away():
        raise sqlite3.OperationalError("the server is away")

    monkeypatch.setattr(ledger._running, "_connect", away)
    status, headers, body = await gateway.chat(model="gpt")
    assert status == 503
    assert headers["x-should-retry"] == "false"  # the upstream was paid
    calls = len(gateway.upstream.bodies)
    for stream in (False, True):
        status, headers, body = await gateway.chat(model="gpt", stream=stream)
        assert status == 503
        assert headers["Retry-After"] == "1"
        assert "x-should-retry" not in headers
        assert b"nothing was called" in body
    assert len(gateway.upstream.bodies) == calls
    assert await told(gateway) == (503, "refusing", "refusing")
    monkeypatch.setattr(ledger._running, "_connect", connect)
    await ledger.flush()
    status, _, _ = await gateway.chat(model="gpt")
    assert status == 200
    assert await told(gateway) == (200, "ok", "ok")
    await ledger.close()
    with closing(sqlite3.connect(tmp_path / "l.db")) as connection:
        assert connection.execute("SELECT count(*) FROM attempts").fetchone() == (2,)
    assert caplog.text.count("requests are refused") == 1


async def test_answers_go_on_with_a_journal(gateway, tmp_path):
    path = tmp_path / "away" / "l.db"
    gateway.service.ledger = ledger = Ledger.open(path, on_failure="spool", spool=tmp_path / "j")
    for _ in range(3):
        status, _, _ = await gateway.chat(model="cheap")
        assert status == 200
    assert await told(gateway) == (200, "ok", "spooling")
    path.parent.mkdir()
    while ledger.state != "ok":
        status, _, _ = await gateway.chat(model="cheap")
        assert status == 200
    await ledger.close()
    with closing(sqlite3.connect(path)) as connection:
        (found,) = connection.execute("SELECT count(*) FROM outcomes").fetchone()
    assert found >= 4


async def test_the_configuration_decides(tmp_path):
    async with fake_upstream() as upstream:
        text = CONFIG.format(url=upstream.base_url)
        (tmp_path / "f.toml").write_text(
            text + 'path = "away/l.db"\non_ledger_failure = "spool"\nspool = "journal"\n'
            'sync = "relaxed"\nkeep = "400d"\nkeep_texts = "30d"\n'
        )
        config = load(tmp_path / "f.toml")
        options = ledger_options(config)
        assert options["retention"].keep.days == 400
        assert options["retention"].keep_texts.days == 30
        assert options["sync"] == "relaxed"
        service = open_service(config)
        assert (tmp_path / "journal").exists()
        await service.aclose()
        for key, value in (("keep", "4 weeks"), ("keep_texts", "0d")):
            (tmp_path / "f.toml").write_text(f'{text}{key} = "{value}"\n')
            with pytest.raises(ConfigError, match=rf"f.toml:6: ledger.{key}: .*whole days"):
                open_service(load(tmp_path / "f.toml"))
        (tmp_path / "f.toml").write_text(f'{text}on_ledger_failure = "hope"\n')
        with pytest.raises(ConfigError, match="on_ledger_failure"):
            load(tmp_path / "f.toml")
