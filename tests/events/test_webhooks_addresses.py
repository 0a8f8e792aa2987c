"""Where webhooks may lead: every spelling of an address inside is refused, and TLS is for the name that was asked."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undrift.core.errors import Forbidden, Invalid, TooLarge, Unavailable
from undrift.events import EVERYWHERE, Reach
from undrift.events.webhooks import addresses
from undrift.events.webhooks.addresses import Target, is_public, judge, parse_url, resolve
from undrift.events.webhooks.sending import post

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://hooks.example.com", ("https", "hooks.example.com", 443, "/", "hooks.example.com")),
        ("https://Ho.EXAMPLE.com:8443/a/b?c=d", ("https", "ho.example.com", 8443, "/a/b?c=d", "ho.example.com:8443")),
        ("http://h:80/", ("http", "h", 80, "/", "h")),
        ("https://h?x", ("https", "h", 443, "/?x", "h")),
        ("https://[2606:2800:21F::1]/", ("https", "2606:2800:21f::1", 443, "/", "[2606:2800:21f::1]")),
        ("https://xn--bcher-kva.de/%2e%2e/", ("https", "xn--bcher-kva.de", 443, "/%2e%2e/", "xn--bcher-kva.de")),
        ("https://a_b.example/x@y:z//w", ("https", "a_b.example", 443, "/x@y:z//w", "a_b.example")),
    ],
)  # fmt: skip
def test_an_address_is_taken_apart(url, target):
    assert parse_url(url) == Target(*target)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com",
        "//hooks.example.com/",
        "ftp://h/",
        "file:///etc/passwd",
        "gopher://h/",
        "HTTPS://h/",
        "https:/h/",
        "https:///path",
        "https://",
        "https://user@h/",
        "https://user:password@h/",
        "https://h@127.0.0.1/",
        "https://127.0.0.1#@good.example/",
        "https://good.example#x",
        "https://good.example\\@127.0.0.1/",
        "https://h\\x/",
        "https://h /",
        "https://h/a b",
        "https://h/\r\nX-Injected: 1",
        "https://h/\n",
        " https://h/",
        "https://h/\x00",
        "https://h/ü",
        "https://bücher.example/",
        "https://①②⑦.0.0.1/",
        "https://127。0。0。1/",
        "https://h:/",
        "https://h:0/",
        "https://h:65536/",
        "https://h:443:443/",
        "https://h:+443/",
        "https://h:٤٤٣/",
        "https://127.1/",
        "https://0177.0.0.1/",
        "https://0x7f.0.0.1/",
        "https://0x7f000001/",
        "https://2130706433/",
        "https://127.0.0.01/",
        "https://127.0.0.1./",
        "https://1.2.3.4.5/",
        "https://h.0x7f/",
        "https://h./",
        "https://.h/",
        "https://a..b/",
        "https://-a.example/",
        "https://" + "a" * 64 + ".example/",
        "https://" + ".".join(["a" * 50] * 6) + "/",
        "https://[::1/",
        "https://[::1]x/",
        "https://[fe80::1%eth0]/",
        "https://[1.2.3.4]/",
        "https://h%2eexample/",
        "https://h,127.0.0.1/",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(url):
    with pytest.raises(Invalid):
        parse_url(url)


def test_an_address_has_two_thousand_characters_at_most():
    assert parse_url("https://h/" + "a" * 1990)
    with pytest.raises(TooLarge, match="2000"):
        parse_url("https://h/" + "a" * 1991)


@given(st.text(max_size=60))
def test_whatever_is_given_is_taken_apart_or_refused(text):
    for url in (text, "https://" + text):
        try:
            target = parse_url(url)
        except Invalid:
            continue
        assert (target.host + target.path + target.authority).isascii()
        assert not set(target.path) & set(" \r\n\t\\#")
        assert target.path.startswith("/")


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.255", "169.254.169.254",
        "172.16.0.1", "172.31.255.255", "192.0.0.170", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1",
        "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
        "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:0:7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1", "100::1",
        "2001::1", "2001:0:7f00::1", "2001:10::1", "2001:db8::1", "2002:7f00:1::", "2002:a00:1::1", "3fff::1",
        "fc00::1", "fd12::1", "fe80::1", "fec0::1", "ff02::1", "4000::1", "5f00::1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_of_the_public_internet_is_refused(address):
    assert not is_public(ipaddress.ip_address(address))
    with pytest.raises(Forbidden):
        judge(Target("https", "h", 443, "/", "h"), Reach(), look_up=lambda *_: [address], timeout_s=1)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::1"]
)
def test_an_address_of_the_public_internet_is_let_through(address):
    assert judge(Target("https", "h", 443, "/", "h"), Reach(), look_up=lambda *_: [address], timeout_s=1) == [address]


@given(st.ip_addresses(v=4))
def test_an_address_is_judged_alike_in_every_wrapping(address):
    number = int(address)
    wrapped = [
        ipaddress.IPv6Address((0xFFFF << 32) | number),
        ipaddress.IPv6Address((0x64FF9B << 96) | number),
        ipaddress.IPv6Address((0x2002 << 112) | (number << 80) | 1),
    ]
    assert {is_public(one) for one in wrapped} == {is_public(address)}
    if not address.is_global:
        assert not is_public(address)


def test_one_address_inside_is_enough_to_refuse():
    for found in (["8.8.8.8", "10.0.0.1"], ["10.0.0.1", "8.8.8.8"], ["8.8.8.8", "::1"]):
        with pytest.raises(Forbidden):
            judge(Target("https", "h", 443, "/", "h"), Reach(), look_up=lambda *_, found=found: found, timeout_s=1)


@pytest.mark.parametrize("found", [[], ["nonsense"]])
def test_a_look_up_without_a_proper_answer_is_an_outage(found):
    with pytest.raises(Unavailable):
        judge(Target("https", "h", 443, "/", "h"), EVERYWHERE, look_up=lambda *_: found, timeout_s=1)


def test_a_name_server_that_does_not_answer_is_given_up(monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_more: release.wait(10) and [])
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        resolve("h.example", 0.1)
    # Nor do many that hang take all there is.
    monkeypatch.setattr(addresses, "_LOOKUPS", threading.BoundedSemaphore(1))
    for _ in range(2):
        with pytest.raises(TimeoutError):
            resolve("h.example", 0.1)
    assert time.monotonic() - began < 5
    release.set()


def test_a_machine_without_threads_left_is_an_outage_that_ends(monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(addresses, "_LOOKUPS", threading.BoundedSemaphore(1))
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        for _ in range(2):
            with pytest.raises(OSError, match="can't start new thread"):
                resolve("localhost", 0.1)
    assert "127.0.0.1" in resolve("localhost", 5)


def test_the_system_is_asked_for_names():
    assert "127.0.0.1" in resolve("localhost", 5)
    with pytest.raises(OSError):
        resolve("a" * 80 + ".invalid", 5)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A certificate for hooks.example, signed by an authority of our own."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hooks.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder


@pytest.fixture
def tls_server(authority):
    """A server that notes the name it was asked for, and answers 200."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "cert.pem", authority / "key.pem")
    names, requests = [], []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.settimeout(5)
            try:
                with context.wrap_socket(connection, server_side=True) as secure:
                    requests.append(secure.recv(65536))
                    secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            except OSError:
                connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1], names, requests
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def send(port, host, trust):
    target = Target("https", host, port, "/hook", host)
    return post(target, ["127.0.0.1"], {}, b"{}", now=NOW, timeout_s=5, tls=trust)


def test_tls_is_for_the_name_although_the_address_is_connected_to(authority, tls_server):
    port, names, requests = tls_server

    def trust():
        return ssl.create_default_context(cafile=authority / "cert.pem")

    assert send(port, "hooks.example", trust).status == 200
    assert names == ["hooks.example"]
    assert b"Host: hooks.example\r\n" in requests[0]
    assert requests[0].startswith(b"POST /hook HTTP/1.1\r\n")
    for other in ("another.example", "127.0.0.1"):
        answer = send(port, other, trust)
        assert answer.status is None
        assert "certificate is not accepted" in answer.problem
    assert len(requests) == 1


def test_a_certificate_that_nobody_vouches_for_is_refused(tls_server):
    from undrift.events.webhooks.sending import tls_of_system

    port, _, requests = tls_server
    answer = send(port, "hooks.example", tls_of_system)
    assert "certificate is not accepted" in answer.problem
    assert requests == []


def test_a_receiver_that_speaks_no_tls_is_a_problem_in_words(unused_port):
    with socket.create_server(("127.0.0.1", unused_port)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        answer = send(unused_port, "hooks.example", ssl.create_default_context)
        thread.join()
    assert answer.status is None
    assert "No encrypted connection" in answer.problem
