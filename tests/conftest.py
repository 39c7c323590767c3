"""Ledgers for tests, in an SQLite file and on a PostgreSQL server of their own."""

import tempfile
import warnings

import pytest

_EMPTY = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = 'spend' AND pid <> pg_backend_pid();
ALTER DATABASE spend RESET ALL;
DROP SCHEMA IF EXISTS public, spend CASCADE;
CREATE SCHEMA public;
"""


def start_postgres(folder):
    """A server whose files are in `folder`; the test is skipped where there can be none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of XDG_RUNTIME_DIR
        pgserver = pytest.importorskip("pgserver", reason="needs the package pgserver")
        try:
            return pgserver.get_server(folder, cleanup_mode="stop")
        except Exception as error:
            pytest.skip(f"PostgreSQL cannot be started here: {error!r}")


@pytest.fixture(scope="session")
def postgres_server():
    """A running server."""
    # Not in a folder of pytest's: for root it runs as another user, who may not enter these.
    with tempfile.TemporaryDirectory(prefix="farthing-") as folder:
        server = start_postgres(folder)
        # Nothing here survives a power cut, nor must it.
        server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf(); CREATE DATABASE spend;")
        yield server
        server.cleanup()


@pytest.fixture
def stoppable():
    """Starts a server of the test's own, which it may stop and start again, at one address."""
    with tempfile.TemporaryDirectory(prefix="farthing-") as folder:
        started = []

        def start():
            started.append(start_postgres(folder))
            return started[-1]

        yield start
        started[-1].cleanup()


@pytest.fixture
def postgres(postgres_server):
    """The URL of an empty database, which tests use one after the other."""
    import psycopg

    where = postgres_server.get_uri(database="spend")
    with psycopg.connect(where) as connection:
        connection.execute(_EMPTY)
    return where


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request, tmp_path):
    """Where a new ledger can be made: a path in a folder of its own, or a URL."""
    if request.param == "sqlite":
        (tmp_path / "ledger").mkdir()
        return str(tmp_path / "ledger" / "l.db")
    return request.getfixturevalue("postgres")
