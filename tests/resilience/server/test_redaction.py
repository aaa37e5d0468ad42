"""A secret never gets into a message, and a message stays readable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from resilience.errors import ConfigError, StoreError
from resilience.server.redaction import LONG_SECRET, UrlRedactor
from resilience.server.store import SqlStore

SHOWN = "database postgresql+psycopg://quiz:{}@127.0.0.1:1/quiz: connection failed for user quiz"


@pytest.mark.parametrize("password", ["e", "quiz", "***", "n", "1"])
def test_a_short_password_is_masked_in_its_place_alone(password: str) -> None:
    """Everywhere else it is a part of a word: masked there, too, it is easy to read off."""
    mask = UrlRedactor(f"postgresql://quiz:{password}@127.0.0.1:1/quiz")
    assert mask(SHOWN.format(password)) == SHOWN.format("***")


def test_a_long_password_is_masked_wherever_it_occurs() -> None:
    mask = UrlRedactor("postgresql://quiz:s3cr%40t@127.0.0.1/quiz")
    assert mask("s3cr@t s3cr%40t quiz") == "*** *** quiz"


def test_a_password_in_the_query_is_masked_in_its_place() -> None:
    mask = UrlRedactor("postgresql://quiz@127.0.0.1/quiz?password=e&sslpassword=p&connect_timeout=5")
    said = "postgresql://quiz@127.0.0.1/quiz?password={}&sslpassword={}&connect_timeout=5: password=empty"
    assert mask(said.format("e", "p")) == said.format("***", "***")


def test_what_holds_no_secret_stays() -> None:
    for url in ("sqlite:///quiz.db", "sqlite://", "postgresql://quiz@host/quiz", "", "postgresql://quiz:@host/quiz"):
        assert UrlRedactor(url)(SHOWN) == SHOWN


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:one@two@127.0.0.1:1/quiz",
        "postgresql://ada:one:two@127.0.0.1:pin/quiz",
        "postgresql://ada@127.0.0.1:one/two@host/quiz",
        "ada:one/two@127.0.0.1",
    ],
)
def test_no_piece_of_a_password_that_was_not_encoded_is_quoted(url: str) -> None:
    """It is read as a host or a port, and an error about those would quote it."""
    with pytest.raises((ConfigError, StoreError)) as caught:
        SqlStore(url)
    told = str(caught.value).partition("must be")[2] or str(caught.value).partition(": ")[2]
    assert "two" not in told
    assert "pin" not in told


@given(st.text(min_size=1, max_size=20), st.text("abc:/@?&=%+ e", min_size=1, max_size=12))
def test_any_encoded_password_is_masked_in_its_url(user: str, password: str) -> None:
    """As SQLAlchemy writes it, and as it hides it."""
    url = make_url("postgresql://h/quiz").set(username=user, password=password)
    written = url.render_as_string(hide_password=False)
    masked = UrlRedactor(written)(f"cannot open {written}")
    assert masked.endswith(":***@h/quiz")
    assert len(password) < LONG_SECRET or password not in masked.rpartition("://")[2]
