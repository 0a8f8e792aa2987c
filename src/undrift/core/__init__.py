"""The floor under everything: ids, time, hashes, errors, the context of a call, and operations declared once.

Words: *id* (UUIDv7, 32 hexadecimal characters), *clock* (the system's or a replayed one), *context* (who asks, when,
and where state lives), *operation* (one thing that can be done), *transport* (how a call reaches it).
"""

from undrift.core.clock import Clock, ReplayClock, SystemClock, parse_time
from undrift.core.context import Actor, Answer, Context, EventDraft
from undrift.core.hashing import hash_bytes, hash_file, hash_value
from undrift.core.ids import check_id, check_name, derive_id, new_id, time_of
from undrift.core.operation import Operation, operation
from undrift.core.transport import HttpTransport, InProcessTransport, Transport

__all__ = [
    "Actor",
    "Answer",
    "Clock",
    "Context",
    "EventDraft",
    "HttpTransport",
    "InProcessTransport",
    "Operation",
    "ReplayClock",
    "SystemClock",
    "Transport",
    "check_id",
    "check_name",
    "derive_id",
    "hash_bytes",
    "hash_file",
    "hash_value",
    "new_id",
    "operation",
    "parse_time",
    "time_of",
]
