"""Claims: how a writer that finds its bytes in the store already keeps whoever collects garbage from removing them.

Equal bytes are kept once, so a writer may rely on an object that nothing else needs any more. Before it does, it writes
a *claim* under ``claims/<when>-<random>``: the digests it relies on. Whoever collects works in *rounds*. It announces
each round under ``collection/round``, reads the claims that are there, and only then removes what nobody claims. A
writer that has claimed looks for a round: when there is none, the next one will see the claim; when there is one, it
waits for the round to end, which takes seconds; a round whose process was killed is over. Then it looks whether the
objects are still there, and stores again what is not. So either the claim is seen, or the loss is. This needs nothing
of a store but that what was written is listed and read at once.

A claim counts for two days. A process remembers for a quarter to half an hour what it has claimed or written.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

import msgspec

from undrift.blobs.ports import ByteStore
from undrift.core.errors import NotFound

__all__ = ["CLAIMS", "CLAIM_HOLDS_S", "ROUND", "Claims", "Round", "claimed_at", "current_round", "over"]

CLAIMS = "claims"
ROUND = "collection/round"
CLAIM_HOLDS_S = 2 * 86_400
_REMEMBERED_S = 900.0
_MOST_REMEMBERED = 100_000
_IN_A_CLAIM = 32_768
_SWEEP_ONE_IN = 100
_LOOK_AGAIN_S = 0.02


class Round(msgspec.Struct, frozen=True):
    """What whoever collects says of itself; a round is over when the next one is announced, or none.

    Attributes:
        collector: A random name.
        number: Which round of this collector.
        until: When it is over at the latest, in seconds since 1970: its process may have been killed.
        host: Where its process runs.
        pid: The process.
    """

    collector: str
    number: int
    until: float
    host: str = ""
    pid: int = 0


class Claims:
    """The claims of one process in a store; safe to use from any thread."""

    def __init__(self, store: ByteStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()
        self._young_since = time.monotonic()

    def remember(self, digests: Iterable[str]) -> None:
        """Note what was just written: it is too young to be collected, and needs no claim for a while."""
        with self._lock:
            self._turn_over()
            self._young.update(map(bytes.fromhex, digests))

    def claim(self, digests: Sequence[str]) -> bool:
        """Claim objects that were there already; returns whether one has to look again whether they still are.

        When this returns, no round runs that might not have seen the claim.
        """
        with self._lock:
            self._turn_over()
            raw = dict.fromkeys(map(bytes.fromhex, digests))
            new = [one for one in raw if one not in self._young and one not in self._old]
        if not new:
            return False
        for at in range(0, len(new), _IN_A_CLAIM):
            name = f"{int(time.time()):010d}-{secrets.token_hex(8)}"
            self._store.write(f"{CLAIMS}/{name}", b"".join(new[at : at + _IN_A_CLAIM]))
        self._await_round()
        with self._lock:
            self._young.update(new)
        if secrets.randbelow(_SWEEP_ONE_IN) == 0:
            self._sweep()
        return True

    def _turn_over(self) -> None:
        if time.monotonic() - self._young_since > _REMEMBERED_S or len(self._young) > _MOST_REMEMBERED:
            self._old, self._young = self._young, set()
            if time.monotonic() - self._young_since > 2 * _REMEMBERED_S:
                self._old = set()
            self._young_since = time.monotonic()

    def _await_round(self) -> None:
        running = current_round(self._store)
        while running is not None and not over(running) and running == current_round(self._store):
            time.sleep(_LOOK_AGAIN_S)

    def _sweep(self) -> None:
        now = time.time()
        for key, _ in list(self._store.list(CLAIMS)):
            if claimed_at(key) < now - CLAIM_HOLDS_S:
                self._store.delete(key)


def current_round(store: ByteStore, key: str = ROUND) -> Round | None:
    """Return the round that is announced; None when nobody removes anything."""
    with suppress(NotFound, msgspec.DecodeError):
        return msgspec.json.decode(b"".join(store.read(key)), type=Round)
    return None


def over(running: Round) -> bool:
    """Say whether a round cannot remove anything any more: its time is up, or its process on this host has ended."""
    if time.time() >= running.until:
        return True
    if running.host != socket.gethostname() or running.pid == os.getpid():
        return False
    try:
        os.kill(running.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def claimed_at(key: str) -> float:
    """Return when a claim was made, in seconds since 1970, as its key says; 0 when it does not."""
    digits = key.rpartition("/")[2][:10]
    return float(digits) if digits.isdigit() else 0.0
