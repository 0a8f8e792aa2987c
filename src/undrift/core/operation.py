"""An operation is declared once: route, client, permission check, audit and reference page come from it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Generic, TypeVar, get_type_hints

import msgspec

from undrift.core.context import Answer, Context
from undrift.core.errors import Conflict, Invalid
from undrift.core.hashing import hash_value

__all__ = ["Operation", "check_idempotency_key", "operation"]

I = TypeVar("I")  # noqa: E741 - input
O = TypeVar("O")  # noqa: E741 - output


class Operation(Generic[I, O]):
    """One thing that can be done, callable as ``operation(ctx, request)``.

    Attributes:
        name: ``room.verb``; over HTTP ``/api/v1/room/verb``.
        input: The Struct it takes.
        output: What it returns.
        permission: What the actor needs, as ``room:read`` or ``room:write``.
        emits: Types of the events it may write; empty for one that only reads.
        before: Refuses a request by what others say, who may be slow; no transaction is open while it asks them.
        keyed: Whether an idempotency key means something to it.
        summary: First line of the handler's docstring.
    """

    def __init__(
        self,
        name: str,
        handler: Callable[[Context, I], O],
        *,
        permission: str,
        emits: tuple[str, ...],
        before: Callable[[Context, Any], None] | None = None,
        keyed: bool = True,
    ) -> None:
        hints = get_type_hints(handler)
        _, request = inspect.signature(handler).parameters
        self.name = name
        self.handler = handler
        self.input: type[I] = hints[request]
        self.output: type[O] = hints["return"]
        self.permission = permission
        self.emits = emits
        self.before = before
        self.keyed = keyed
        self.summary = (inspect.getdoc(handler) or "").partition("\n")[0]
        self.__doc__ = handler.__doc__
        self.__name__ = handler.__name__
        self.__module__ = handler.__module__
        self.__wrapped__ = handler

    @property
    def reads(self) -> bool:
        """Whether it changes nothing."""
        return not self.emits

    @property
    def path(self) -> str:
        """Its place below ``/api/v1``."""
        return "/" + self.name.replace(".", "/")

    def __call__(self, ctx: Context, request: I) -> O:
        """Check the permission, then do it, once for an idempotency key."""
        ctx.policy.check(ctx.actor, self.permission)
        if ctx.idempotency_key is not None and not self.reads:
            return self._once(ctx, request, ctx.idempotency_key)
        if self.before is not None:
            self.before(ctx, request)
        return self.handler(ctx, request)

    def _once(self, ctx: Context, request: I, key: str) -> O:
        check_idempotency_key(key)
        # Another actor may have thought of the same key: it is another call, and its answer is not for everybody.
        kept = hash_value([ctx.actor.kind, ctx.actor.name, key])
        # The key is not handed on: operations called inside are part of this one.
        ctx.idempotency_key = None
        try:
            if not self.keyed:
                return self(ctx, request)
            asked = hash_value(request)
            if self.before is not None:
                with ctx.read() as tx:
                    known = ctx.database.recall(tx, kept)
                if known is None:
                    self.before(ctx, request)
            with ctx.begin() as tx:
                known = ctx.database.recall(tx, kept)
                if known is not None:
                    if known.operation != self.name:
                        raise Conflict(f"The idempotency key {key!r} was used for {known.operation}, not {self.name}.")
                    if known.request not in {None, asked}:
                        raise Conflict(
                            f"The idempotency key {key!r} was used for another request of {self.name}.",
                            next_step="A key names one request: send the same one again, or choose another key.",
                        )
                    return msgspec.json.decode(known.body, type=self.output)
                answer = self.handler(ctx, request)
                ctx.database.remember(tx, kept, Answer(self.name, msgspec.json.encode(answer), asked), ctx.now())
                return answer
        finally:
            ctx.idempotency_key = key

    def __repr__(self) -> str:
        return f"<operation {self.name}>"


def check_idempotency_key(key: str) -> str:
    """Return the key when it can travel in a header.

    Raises:
        Invalid: It is longer than 200 characters, or has others than printable ASCII.

    >>> check_idempotency_key("cycle-7/promote")
    'cycle-7/promote'
    """
    if len(key) > 200 or not (key.isascii() and key.isprintable()):
        raise Invalid(f"{key[:80]!r} is not an idempotency key: it has at most 200 characters of printable ASCII.")
    return key


def operation(
    name: str,
    *,
    permission: str,
    emits: tuple[str, ...] = (),
    before: Callable[[Context, Any], None] | None = None,
    keyed: bool = True,
) -> Callable[[Callable[[Context, I], O]], Operation[I, O]]:
    """Declare a function ``(ctx, request) -> answer`` as an operation.

    Args:
        name: ``room.verb``.
        permission: What the actor needs.
        emits: Types of the events it may write; leave out for an operation that only reads.
        before: Refuses a request by what others say, who may be slow: it is asked before a transaction begins.
        keyed: Leave out, unless it waits for others itself: then it is done again when it is asked for again.
    """

    def declare(handler: Callable[[Context, I], O]) -> Operation[I, O]:
        return Operation[Any, Any](name, handler, permission=permission, emits=emits, before=before, keyed=keyed)

    return declare
