"""A ledger's address, which never shows a password."""

from pathlib import Path

import pytest

from farthing.core.errors import LedgerError
from farthing.ledger.address import Address


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("farthing.db", "farthing.db"),
        ("a folder/l.db", "a folder/l.db"),
        ("postgresql://ann:s3cret@db:5433/spend", "postgresql://ann@db:5433/spend"),
        ("postgres://db/spend", "postgresql://db/spend"),
        ("postgresql:///spend?user=ann&password=s3cret&host=db", "postgresql://ann@db/spend"),
        ("postgresql://ann:@/spend?host=/run/pg", "postgresql://ann@/spend?host=/run/pg"),
        ("postgresql://ann@/spend?host=a&host=b", "postgresql://ann@a,b/spend"),
        ("postgresql://ann@db/spend?sslpassword=s3cret", "postgresql://ann@db/spend"),
    ],
)
def test_what_is_shown(told, shown):
    address = Address.of(told)
    assert str(address) == shown
    assert "s3cret" not in repr(address)
    assert Address.of(address) is address
    assert address.has_password == ("s3cret" in told)


def test_a_path_is_a_path():
    assert Address.of(Path("l.db")).path == Path("l.db")
    assert Address.of(Path("postgresql://x")).url is None


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ("mysql://ann:s3cret@db/spend", "not mysql://"),
        ("postgresql://ann:s3cret@db:port/spend", "cannot read the URL"),
        ("https://s3cret", "not https://"),
    ],
)
def test_what_is_no_address(told, says):
    with pytest.raises(LedgerError, match=says) as caught:
        Address.of(told)
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in repr(caught.value.__cause__)
