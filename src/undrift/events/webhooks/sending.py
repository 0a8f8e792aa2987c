"""One call of a webhook: to an address that was judged, within a time that covers the whole of it."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from undrift.events.webhooks.addresses import Target

if TYPE_CHECKING:
    import socket
    import ssl

__all__ = ["Answer", "TlsOf", "post", "tls_of_system"]

TlsOf = Callable[[], "ssl.SSLContext"]
"""Says whom to trust."""

_CONNECT_S = 10.0
_MOST_ANSWERS = 10
_SECONDS = re.compile(r"[0-9]{1,9}")
_SAFE = re.compile(r"[ -~]*")


class Answer(msgspec.Struct, frozen=True):
    """What came back: never more than the status, for the rest may be what nobody here should see.

    Attributes:
        status: The HTTP status; None when none came.
        problem: Why none came.
        retry_after_s: When the receiver asks to be called again, in seconds from now.
    """

    status: int | None
    problem: str = ""
    retry_after_s: float | None = None


def tls_of_system() -> ssl.SSLContext:
    """Trust the usual authorities, or those that ``SSL_CERT_FILE`` names."""
    import httpx  # noqa: PLC0415 - heavy

    return httpx.create_ssl_context()


class _Deadline:
    """A moment by which everything has to be over."""

    def __init__(self, timeout_s: float) -> None:
        self._end = time.monotonic() + timeout_s

    def left(self, most: float = float("inf")) -> float:
        """Return how many seconds there are still, but no more than so many.

        Raises:
            TimeoutError: None.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return min(left, most)


class _Reader(io.RawIOBase):
    """Reads from a socket until a deadline: who sends a byte now and then gains no time by it."""

    def __init__(self, connection: socket.socket, deadline: _Deadline) -> None:
        self._connection = connection
        self._deadline = deadline
        self._stream: io.BufferedReader[Any] = io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        self._connection.settimeout(self._deadline.left())
        return self._connection.recv_into(buffer)

    def makefile(self, _mode: str) -> io.BufferedReader[Any]:
        """Stand in for the socket where an HTTP answer is read from."""
        return self._stream


def post(
    target: Target,
    addresses: Sequence[str],
    headers: dict[str, str],
    body: bytes,
    *,
    now: datetime,
    timeout_s: float,
    tls: TlsOf,
) -> Answer:
    """Send a body; nothing is looked up here, no proxy is asked and no redirect is followed.

    Args:
        target: Where to; its host is what the certificate has to be for.
        addresses: What to connect to, in this order.
        headers: Besides the usual ones.
        body: What to send.
        now: The current moment: receivers may ask to be left alone until another one.
        timeout_s: How long everything together may take, in seconds.
        tls: Says whom to trust.
    """
    import http.client  # noqa: PLC0415 - needed by who sends only
    import ssl  # noqa: PLC0415 - the same

    deadline = _Deadline(timeout_s)
    connection: socket.socket | None = None
    try:
        connection = _connect(addresses, target.port, deadline)
        if target.scheme == "https":
            connection.settimeout(deadline.left())
            connection = tls().wrap_socket(connection, server_hostname=target.host)
        connection.settimeout(deadline.left())
        connection.sendall(_head(target, headers, len(body)) + body)
        return _read_answer(connection, deadline, now)
    except TimeoutError:
        return Answer(None, "No answer in time.")
    except ssl.SSLCertVerificationError as error:
        return Answer(None, f"Its certificate is not accepted: {error.verify_message}.")
    except ssl.SSLError as error:
        return Answer(None, f"No encrypted connection: {error.reason or 'it was cut off'}.")
    except ConnectionRefusedError:
        return Answer(None, "Nothing listens there.")
    except http.client.RemoteDisconnected:
        return Answer(None, "The connection was closed before an answer.")
    except http.client.HTTPException:
        return Answer(None, "The answer is not HTTP.")
    except OSError as error:
        return Answer(None, f"The connection failed: {error.strerror or type(error).__name__}.")
    finally:
        if connection is not None:
            connection.close()


def _connect(addresses: Sequence[str], port: int, deadline: _Deadline) -> socket.socket:
    import socket  # noqa: PLC0415 - needed by who sends only

    failure = OSError("There is no address.")
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            connection = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:  # this machine has no such network
            failure = error
            continue
        try:
            connection.settimeout(deadline.left(_CONNECT_S))
            connection.connect((address, port))
        except OSError as error:
            connection.close()
            failure = error
            continue
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection
    raise failure


def _head(target: Target, headers: dict[str, str], length: int) -> bytes:
    lines = {
        "Host": target.authority,
        "User-Agent": "undrift-webhooks",
        "Accept": "*/*",
        "Content-Length": str(length),
        "Connection": "close",
    } | headers
    # All of these are made here or were checked; a line break among them would be a second request.
    assert all(_SAFE.fullmatch(value) for value in lines.values())  # noqa: S101 - said by `parse_url` and `headers_of`
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {target.path} HTTP/1.1\r\n{text}\r\n".encode("ascii")


def _read_answer(connection: socket.socket, deadline: _Deadline, now: datetime) -> Answer:
    import http.client  # noqa: PLC0415 - needed by who sends only

    reader: Any = _Reader(connection, deadline)
    # Kept until the end: one that is thrown away closes what the next is read from.
    answers: list[http.client.HTTPResponse] = []
    while len(answers) < _MOST_ANSWERS:
        answer = http.client.HTTPResponse(reader, method="HEAD")
        answers.append(answer)
        answer.begin()
        if answer.status >= 200:
            # What remains is left unread.
            return Answer(answer.status, retry_after_s=_seconds(answer.getheader("Retry-After"), now))
    raise http.client.HTTPException("Nothing but interim answers.")


def _seconds(retry_after: str | None, now: datetime) -> float | None:
    import email.utils  # noqa: PLC0415 - hardly ever needed

    if retry_after is None:
        return None
    if _SECONDS.fullmatch(retry_after.strip()):
        return float(retry_after)
    try:
        moment = email.utils.parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    return max(0.0, (moment - now).total_seconds())
