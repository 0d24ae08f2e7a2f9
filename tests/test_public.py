"""Fetching at a stranger's word: what is refused, with real servers on the loopback otherwise."""

from __future__ import annotations

import ipaddress
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from cliphouse.errors import PictureError
from cliphouse.pictures import public
from cliphouse.pictures.guard import is_public, resolve
from cliphouse.pictures.public import FetchLimits, fetch_public

LOOPBACK = (ipaddress.ip_network("127.0.0.1/32"),)
QUICK = FetchLimits(max_bytes=100_000, seconds=0.6)
DATA = bytes(range(256)) * 40
Answer = Callable[["Handler"], None]

# Each reaches the machine itself, its network or nothing at all, in one notation or another.
PRIVATE_HOSTS = [
    *("127.0.0.2", "127.2", "2130706434", "0177.0.0.2", "0177.2", "0x7f.2", "0x7f000002"),
    *("0", "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.1", "172.16.0.1", "172.31.255.254"),
    *("192.168.0.1", "192.168.1", "3232235521", "100.64.0.1", "100.127.255.254"),
    *("169.254.169.254", "0xa9fea9fe", "2852039166", "0251.0376.0251.0376", "169.254.0.1"),
    *("168.63.129.16", "100.100.100.200", "192.0.0.192", "192.0.0.8", "192.0.2.1", "192.88.99.1"),
    *("198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1"),
    *("239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *("[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
    *("[::ffff:10.0.0.1]", "[::127.0.0.1]", "[::ffff:0:127.0.0.1]", "[fe80::1]", "[fe80::1%25lo]"),
    *("[fc00::1]", "[fd00:ec2::254]", "[fec0::1]", "[ff02::1]", "[100::1]"),
    *("[64:ff9b::7f00:1]", "[64:ff9b::169.254.169.254]", "[64:ff9b:1::808:808]"),
    *("[2002:7f00:1::]", "[2002:a9fe:a9fe::1]", "[2002:808:808::1]", "[2001::1]"),
    *("[2001:0:4136:e378:8000:63bf:3fff:fdd2]", "[2001:db8::1]", "[2001:2::1]", "[3fff::1]"),
]
THIS_MACHINE = [
    *("127.0.0.1", "127.1", "2130706433", "0177.0.0.1", "0x7f.1", "0x7f.0.0.1", "0x7f000001"),
    *("017700000001", "localhost", "LOCALHOST", "localhost.", "１２７.０.０.１", "127.0.0.1."),
]
PUBLIC = ["8.8.8.8", "93.184.216.34", "172.32.0.1", "100.128.0.1", "192.0.1.1", "2606:4700::1111"]
BAD_URLS = [
    *("file:///etc/passwd", "ftp://example.org/a.jpg", "gopher://example.org/", "FILE:/etc/passwd"),
    *("data:image/png;base64,iVBORw0KGgo=", "javascript:alert(1)", "//example.org/a.jpg", ""),
    *(
        "example.org/a.jpg",
        "/etc/passwd",
        "http://",
        "http:///a.jpg",
        "http:a.jpg",
        "https://:443/",
    ),
    *("http://user:pw@example.org/", "http://user@example.org/", "http://:pw@example.org/"),
    *(
        "http://example.org:99999/",
        "http://example.org:-1/",
        "http://example.org:0/",
        "http://example.org:eighty/",
    ),
    *("http://[::1/", "http://[bad]/", "http://exa mple.org/", "http://a.org/\r\nHost: b.org"),
    *("http://a.org/\0", "http://" + "a" * 5000 + ".org/", "http://" + "a" * 64 + ".org/"),
    *("http://\ud800.org/", "http://a.org/\ud800", "http://xn--a.org/", "http://..org/"),
]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.seen.append(dict(self.headers))
        self.close_connection = True
        try:
            self.server.answers[self.path](self)
        except OSError:  # the client has gone, as it should
            return

    def begin(self, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Answers by path; ``seen`` are the headers of every request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, Answer] = {"/a.jpg": picture}
        self.seen: list[dict[str, str]] = []
        self.closing = threading.Event()
        self.port = self.server_address[1]

    def url(self, path: str = "/a.jpg", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


def picture(handler: Handler) -> None:
    handler.begin(Content_Length=str(len(DATA)), Content_Type="text/plain", Set_Cookie="a=b")
    handler.wfile.write(DATA)


def redirect(to: str, status: int = 302) -> Answer:
    return lambda handler: handler.begin(status, Location=to, Content_Length="0")


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server()
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused is refused before anything is sent."""

    def connect(*_: object, **__: object) -> None:
        raise AssertionError("a connection was made")

    monkeypatch.setattr("socket.create_connection", connect)


def names(**addresses: list[str]) -> Callable[[str, int], list[str]]:
    """A resolver that knows these hosts (a dot is written __) and no others."""

    def answer(host: str, port: int) -> list[str]:
        if host.replace(".", "__") not in addresses:
            raise OSError(f"no such host: {host}")
        return addresses[host.replace(".", "__")]

    return answer


@pytest.mark.usefixtures("no_connection")
@pytest.mark.parametrize("host", [*PRIVATE_HOSTS, *THIS_MACHINE])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_address_that_is_not_public_is_refused(scheme: str, host: str) -> None:
    with pytest.raises(PictureError) as refused:
        fetch_public(f"{scheme}://{host}/a.jpg")
    assert "\n" not in str(refused.value)
    if "no public address" not in str(refused.value):
        assert "not a URL" in str(refused.value)  # a form that is no host's name


@pytest.mark.parametrize("host", PRIVATE_HOSTS)
def test_a_redirect_to_such_an_address_is_refused(server: Server, host: str) -> None:
    server.answers["/out.jpg"] = redirect(f"http://{host}:{server.port}/a.jpg")
    with pytest.raises(PictureError, match=r"no public address|not a URL|wrong URL"):
        fetch_public(server.url("/out.jpg"), allow_networks=LOOPBACK)
    assert len(server.seen) == 1


@pytest.mark.usefixtures("no_connection")
@pytest.mark.parametrize("url", BAD_URLS)
def test_what_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(PictureError) as refused:
        fetch_public(url, resolver=names())
    assert len(str(refused.value)) < 300 and "\n" not in str(refused.value)


@pytest.mark.parametrize("url", [u for u in BAD_URLS if re.match(r"(?!https?:)\w+:|\w+://[^/]", u)])
def test_a_redirect_to_what_is_no_web_address_is_refused(server: Server, url: str) -> None:
    to = url.replace("\r\n", "%0D%0A").replace("\0", "%00")
    server.answers["/out.jpg"] = lambda handler: handler.wfile.write(
        f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode(
            "utf-8", "surrogatepass"
        )
    )
    with pytest.raises(PictureError):
        fetch_public(server.url("/out.jpg"), allow_networks=LOOPBACK)
    assert len(server.seen) == 1


def test_a_redirect_with_a_password_is_refused(server: Server) -> None:
    server.answers["/out.jpg"] = redirect(server.url().replace("://", "://user:pw@"))
    with pytest.raises(PictureError, match="a user name or a password"):
        fetch_public(server.url("/out.jpg"), allow_networks=LOOPBACK)
    assert len(server.seen) == 1


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_refused_in_one_line(text: str) -> None:
    for url in (text, f"http://{text}", f"http://a.org/{text}"):
        with pytest.raises(PictureError):
            fetch_public(url, resolver=lambda host, port: ["10.0.0.1"])


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))
    if "." in address:
        assert is_public(ipaddress.ip_address(f"::ffff:{address}"))
        assert is_public(ipaddress.ip_address(f"64:ff9b::{address}"))


@given(st.integers(0, 2**32 - 1))
def test_ipv4_by_the_registry(number: int) -> None:
    """The IANA IPv4 special-purpose registry, written as ranges of numbers."""
    special = [
        *((0x00000000, 8), (0x0A000000, 8), (0x64400000, 10), (0x7F000000, 8), (0xA9FE0000, 16)),
        *((0xAC100000, 12), (0xC0000000, 24), (0xC0000200, 24), (0xC0586300, 24)),
        *((0xC0A80000, 16), (0xC6120000, 15), (0xC6336400, 24), (0xCB007100, 24)),
        *((0xE0000000, 3), (0xA83F8110, 32)),
    ]
    is_special = any(number >> (32 - bits) == start >> (32 - bits) for start, bits in special)
    assert is_public(ipaddress.IPv4Address(number)) != is_special


@pytest.mark.usefixtures("no_connection")
def test_one_private_address_among_several_is_enough() -> None:
    for private in ("10.0.0.1", "::1", "fe80::1%eth0", "not an address"):
        for answer in (["93.184.216.34", private], [private, "93.184.216.34"]):
            with pytest.raises(PictureError, match=r"example\.org has no public address"):
                fetch_public("http://example.org/a.jpg", resolver=names(example__org=answer))


@pytest.mark.usefixtures("no_connection")
@pytest.mark.parametrize("port", [22, 25, 6379, 8080, 8123, 65535])
def test_other_ports_of_public_addresses_are_not_asked(port: int) -> None:
    with pytest.raises(PictureError, match="port 80 or 443"):
        fetch_public(
            f"http://example.org:{port}/a.jpg", resolver=names(example__org=["93.184.216.34"])
        )


def test_a_name_is_resolved_once_a_connection(server: Server) -> None:
    """Asked a second time, this name would answer what was never looked at."""
    answers = [["127.0.0.1"], ["127.0.0.2"], ["10.0.0.1"]]
    asked = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    url = server.url(host="rebinding.test")
    assert fetch_public(url, allow_networks=LOOPBACK, resolver=rebinding) == DATA
    assert asked == ["rebinding.test"]
    assert server.seen[0]["Host"] == f"rebinding.test:{server.port}"
    with pytest.raises(PictureError, match="no public address"):
        fetch_public(url, allow_networks=LOOPBACK, resolver=rebinding)
    server.answers["/again.jpg"] = redirect("/a.jpg")
    asked.clear()
    with pytest.raises(PictureError, match="no public address"):  # the redirect is checked anew
        fetch_public(
            server.url("/again.jpg", "rebinding.test"), allow_networks=LOOPBACK, resolver=rebinding
        )
    assert len(server.seen) == 2


def test_the_next_address_is_tried_where_one_is_silent(server: Server) -> None:
    resolver = names(two__test=["127.0.0.3", "127.0.0.1"])
    allowed = [ipaddress.ip_network("127.0.0.0/8")]
    assert fetch_public(server.url(host="two.test"), allow_networks=allowed, resolver=resolver)
    with pytest.raises(PictureError, match="cannot be fetched"):
        fetch_public("http://127.0.0.1:1/", FetchLimits(seconds=2), allow_networks=LOOPBACK)


def test_redirects_are_followed_up_to_the_limit(server: Server) -> None:
    for step, status in enumerate((301, 302, 303, 307, 308)):
        server.answers[f"/{step}"] = redirect(f"/{step + 1}", status)
    server.answers["/5"] = picture
    assert fetch_public(server.url("/2"), allow_networks=LOOPBACK) == DATA
    with pytest.raises(PictureError, match="more than 3 redirects"):
        fetch_public(server.url("/1"), allow_networks=LOOPBACK)


def test_nothing_is_sent_but_the_request(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not even where the environment knows a proxy and a password for the host."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server.answers["/to.jpg"] = lambda handler: handler.begin(
        302, Location="/a.jpg", Set_Cookie="a=b; Path=/", Content_Length="0"
    )
    assert fetch_public(server.url("/to.jpg"), allow_networks=LOOPBACK) == DATA
    for headers in server.seen:
        assert set(headers) == {"Host", "User-Agent", "Accept", "Accept-Encoding"}
        assert headers["User-Agent"].startswith("cliphouse/")


@pytest.mark.parametrize("status", [204, 206, 304, 400, 401, 403, 404, 500, 503])
def test_any_answer_but_200_is_refused(server: Server, status: int) -> None:
    server.answers["/bad.jpg"] = lambda handler: handler.begin(status, Content_Length="0")
    with pytest.raises(PictureError, match=f"the server answers {status}"):
        fetch_public(server.url("/bad.jpg"), allow_networks=LOOPBACK)


def announced_giant(handler: Handler) -> None:
    handler.begin(Content_Length=str(10**12))
    endless(handler)


def endless_body(handler: Handler) -> None:
    handler.begin()
    endless(handler)


def endless(handler: Handler) -> None:
    while True:
        handler.wfile.write(b"x" * 65536)


@pytest.mark.parametrize("answer", [announced_giant, endless_body])
def test_giant_and_endless_bodies_are_given_up(server: Server, answer: Answer) -> None:
    server.answers["/giant.jpg"] = answer
    with pytest.raises(PictureError, match=r"larger than 0\.1 MB"):
        fetch_public(server.url("/giant.jpg"), FetchLimits(100_000), allow_networks=LOOPBACK)


def dripping_body(handler: Handler) -> None:
    handler.begin()
    drip(handler, b"x")


def dripping_headers(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    drip(handler, b"x")


def dripping_hints(handler: Handler) -> None:
    drip(handler, b"HTTP/1.1 103 Early Hints\r\n\r\n")


def dripping_redirects(handler: Handler) -> None:
    handler.server.closing.wait(0.3)
    handler.begin(302, Location="/slow.jpg", Content_Length="0")


def silence(handler: Handler) -> None:
    handler.server.closing.wait(30)


def drip(handler: Handler, data: bytes) -> None:
    """Little by little, and never so slow that a single read would time out."""
    while not handler.server.closing.wait(0.05):
        handler.wfile.write(data)


@pytest.mark.parametrize(
    "answer", [dripping_body, dripping_headers, dripping_hints, dripping_redirects, silence]
)
def test_a_slow_drip_cannot_stretch_the_time(server: Server, answer: Answer) -> None:
    server.answers["/slow.jpg"] = answer
    with pytest.raises(PictureError, match=r"not fetched within 0\.6 s"):
        fetch_public(server.url("/slow.jpg"), QUICK, allow_networks=LOOPBACK)


def test_a_slow_resolver_cannot_either() -> None:
    hanging, answered = threading.Event(), threading.Event()

    def slow(host: str, port: int) -> list[str]:
        hanging.wait(30)
        answered.set()
        return ["93.184.216.34"]

    with pytest.raises(PictureError, match=r"not fetched within 0\.6 s"):
        fetch_public("http://example.org/a.jpg", QUICK, resolver=slow)
    assert not answered.is_set()
    hanging.set()


def cut_short(handler: Handler) -> None:
    handler.begin(Content_Length="1000")
    handler.wfile.write(b"x" * 10)


def not_http(handler: Handler) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")


def endless_header(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    endless(handler)


@pytest.mark.parametrize("answer", [cut_short, not_http, endless_header])
def test_a_broken_answer_is_one_clear_line(server: Server, answer: Answer) -> None:
    server.answers["/broken.jpg"] = answer
    with pytest.raises(PictureError, match=r"cannot be fetched: \w") as refused:
        fetch_public(server.url("/broken.jpg"), allow_networks=LOOPBACK)
    assert "\n" not in str(refused.value)


def test_tls_is_verified_with_the_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authority = trustme.CA()
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("pictures.test").configure_cert(own)
    resolver = names(pictures__test=["127.0.0.1"], other__test=["127.0.0.1"])
    with serving(own) as server:
        url = server.url(host="pictures.test", scheme="https")
        with pytest.raises(PictureError, match="certificate verify failed"):
            fetch_public(url, allow_networks=LOOPBACK, resolver=resolver)
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        public.tls_context.cache_clear()
        try:
            assert fetch_public(url, allow_networks=LOOPBACK, resolver=resolver) == DATA
            other = server.url(host="other.test", scheme="https")
            with pytest.raises(PictureError, match="Hostname mismatch"):
                fetch_public(other, allow_networks=LOOPBACK, resolver=resolver)
        finally:
            public.tls_context.cache_clear()


def test_the_systems_resolver_reads_numbers() -> None:
    """So that what is checked is what a connection would be made to."""
    assert resolve("2130706433", 80) == ["127.0.0.1"]
    assert resolve("0x7f.1", 80) == ["127.0.0.1"]
