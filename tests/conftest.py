"""Ledgers for tests, in an SQLite file and on a PostgreSQL server of their own."""

import warnings
from itertools import count

import pytest

_numbers = count()


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory):
    """A running server; tests are skipped where there can be none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pgserver = pytest.importorskip("pgserver", reason="needs the package pgserver")
        try:
            server = pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="stop")
        except Exception as error:
            pytest.skip(f"PostgreSQL cannot be started here: {error!r}")
    yield server
    server.cleanup()


@pytest.fixture
def postgres(postgres_server):
    """The URL of a new, empty database."""
    name = f"farthing_{next(_numbers)}"
    postgres_server.psql(f"CREATE DATABASE {name};")
    return postgres_server.get_uri(database=name)


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request, tmp_path):
    """Where a new ledger can be made: a path in a folder of its own, or a URL."""
    if request.param == "sqlite":
        (tmp_path / "ledger").mkdir()
        return str(tmp_path / "ledger" / "l.db")
    return request.getfixturevalue("postgres")
