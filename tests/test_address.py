"""Addresses of databases: what they mean, and that nothing shows their passwords."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cliphouse.cli.title import without_password
from cliphouse.engine.address import FolderAddress, ServerAddress, parse_address
from cliphouse.errors import TableError


def server_of(text: str) -> ServerAddress:
    address = parse_address(text)
    assert isinstance(address, ServerAddress)
    return address


@pytest.mark.parametrize(
    ("text", "shown", "host", "port", "database", "user", "password"),
    [
        ("http://h", "http://h:8123", "h", 8123, None, "", ""),
        ("https://h/db", "https://h:8443/db", "h", 8443, "db", "", ""),
        ("HTTP://H:9/db/", "http://h:9/db", "h", 9, "db", "", ""),
        ("http://u@h/d", "http://h:8123/d", "h", 8123, "d", "u", ""),
        ("http://u:p@h:1/d", "http://h:1/d", "h", 1, "d", "u", "p"),
        ("http://u%40x:p%3A%2F%23@h", "http://h:8123", "h", 8123, None, "u@x", "p:/#"),
        ("http://u:p@q@h", "http://h:8123", "h", 8123, None, "u", "p@q"),
        ("http://[::1]:8123/d", "http://[::1]:8123/d", "::1", 8123, "d", "", ""),
    ],
)
def test_an_address_is_understood(
    text: str,
    shown: str,
    host: str,
    port: int,
    database: str | None,
    user: str,
    password: str,
) -> None:
    server = server_of(text)
    assert server.shown == shown
    assert (server.host, server.port, server.database) == (host, port, database)
    assert (server.user, server.password) == (user, password)
    assert server.is_https == shown.startswith("https")


def test_a_path_is_a_folder(tmp_path: Path) -> None:
    text = str(tmp_path / "a b@c")
    assert parse_address(text) == FolderAddress(tmp_path / "a b@c", text)


@pytest.mark.parametrize("name", ["host:8123", "user:word@host", "http:", "s3:"])
def test_an_existing_folder_is_that_whatever_it_looks_like(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with suppress(TableError):
        assert parse_address(name) == FolderAddress(tmp_path / name, name)
    (tmp_path / name).mkdir()
    assert parse_address(name) == FolderAddress(tmp_path / name, name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http://u:pass#word@h/db", "%23 for #"),
        ("http://u:pass/word@h/db", "%2F for /"),
        ("http://u:pass?word@h/db", "%3F for ?"),
        ("http://u:pass#word", "%23 for #"),
        ("http://u:12/pass@h", "%2F for /"),
        ("http://u:word@h:pass", "no port"),
        ("http://u:word@h:99999", "no port"),
        ("http://u:word@:80/x", "names no host"),
        ("http://u:word@h:0/x", "names no host or no port"),
        ("clickhouse://u:pass/word@h", "a database is a folder, or http"),
        ("http://u:x[word]y@h/d", "%5B for ["),
        ("http://[::1:8123/x", "cannot be read"),
        ("127.0.0.1:8123/laion", "for a server give http://127.0.0.1:8123/laion"),
        ("localhost:8123", "for a server give http://localhost:8123"),
        ("u:password@h:8123", "has no http://"),
        ("http:/u:password@h", "has no http://"),
        ("http://u:word@h/a/b", "ends with one database"),
        ("http://u:word@h?max_threads=1", "no option 'max_threads'; there are ca_cert"),
        ("http://u:word@h?verify=false", "verify is for https"),
        ("https://u:word@h?verify=perhaps", "verify is true or false"),
        ("https://u:word@h?ca_cert=/no/such/file", "/no/such/file: no such file"),
        ("http://u:word@h?connect_timeout=soon", "a number of seconds"),
    ],
)
def test_a_wrong_address_is_told_without_its_password(text: str, said: str) -> None:
    with pytest.raises(TableError) as caught:
        parse_address(text)
    message = str(caught.value)
    assert said in message
    assert "word" not in message.replace("in a password", "").replace("user:password@", "").replace(
        "CLIPHOUSE_PASSWORD", ""
    )
    assert "\n" not in message


_PASSWORDS = st.text(min_size=6, max_size=20).filter(
    lambda text: text.strip() and "***" not in text
)


@given(_PASSWORDS)
def test_no_password_is_ever_shown(password: str) -> None:
    encoded = quote(password, safe="", errors="surrogatepass")
    address = server_of(f"http://user:{encoded}@host:8123/db")
    assert address.password == password
    assert address.shown == "http://host:8123/db"
    assert repr(password) not in repr(address)
    hidden = address.redact(f"x {password} y {encoded} z")
    assert password not in hidden
    assert encoded not in hidden


def test_a_short_password_is_hidden_as_a_word() -> None:
    assert server_of("http://u:p@h").redact("no privileges: p, 'p'") == "no privileges: ***, '***'"


@given(st.text(st.characters(codec="utf-8"), min_size=8))
def test_a_title_has_no_password(password: str) -> None:
    """Whatever it holds: also what an address ought not to hold."""
    shown = without_password(f"--db=http://user:{password}@host:8123/db")
    assert shown == "--db=http://user:***@host:8123/db"


def test_the_environment_says_who_asks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLIPHOUSE_USER", "env")
    monkeypatch.setenv("CLIPHOUSE_PASSWORD", "hidden")
    both = server_of("http://h/d")
    assert (both.user, both.password) == ("env", "hidden")
    named = server_of("http://other@h/d")
    assert (named.user, named.password) == ("other", "hidden")
    whole = server_of("http://other:own@h/d")
    assert (whole.user, whole.password) == ("other", "own")
    without = server_of("http://other:@h/d")
    assert (without.user, without.password) == ("other", "")
    monkeypatch.delenv("CLIPHOUSE_USER")
    assert server_of("http://h/d").user == "default"


def test_a_file_holds_the_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(" from file \n")
    monkeypatch.setenv("CLIPHOUSE_PASSWORD_FILE", str(tmp_path / "secret"))
    assert server_of("http://u@h/d").password == " from file "
    (tmp_path / "secret").write_text("\ufeffpass\r\n")  # as Windows' Notepad writes it
    assert server_of("http://u@h/d").password == "pass"
    monkeypatch.setenv("CLIPHOUSE_PASSWORD", "x")
    with pytest.raises(TableError, match="are both set"):
        server_of("http://u@h/d")
    monkeypatch.delenv("CLIPHOUSE_PASSWORD")
    monkeypatch.setenv("CLIPHOUSE_PASSWORD_FILE", str(tmp_path / "none"))
    with pytest.raises(TableError, match="none: No such file"):
        server_of("http://u@h/d")
    (tmp_path / "none").write_bytes(b"\xff\xfe")
    with pytest.raises(TableError, match="not text in UTF-8"):
        server_of("http://u@h/d")


def test_a_ca_of_the_environment_is_for_https(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text("")
    monkeypatch.setenv("CLIPHOUSE_CA_CERT", str(tmp_path / "ca.pem"))
    assert server_of("https://h").options == {"ca_cert": str(tmp_path / "ca.pem")}
    assert server_of("http://h").options == {}
    assert server_of("https://h?ca_cert=certifi&connect_timeout=3").options == {
        "ca_cert": "certifi",
        "connect_timeout": 3,
    }
