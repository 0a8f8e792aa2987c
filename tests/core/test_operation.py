from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
import sqlalchemy as sa

from undrift.core import Actor, Context, Operation, operation
from undrift.core.errors import Conflict, Forbidden, Invalid, NotFound
from undrift.events import read_after
from undrift.metastore import open_database


class Add(msgspec.Struct, frozen=True):
    name: str
    count: int = 1


class Added(msgspec.Struct, frozen=True):
    name: str
    call: int


calls = []


@operation("probes.add", permission="probes:write", emits=("probe.added",))
def add(ctx: Context, request: Add) -> Added:
    """Add a probe.

    What follows is for the reference page.
    """
    calls.append(request)
    with ctx.begin():
        ctx.emit("probe.added", f"probes/{request.name}", project="p")
    return Added(request.name, len(calls))


@operation("probes.remove", permission="probes:write", emits=("probe.removed",))
def remove(ctx: Context, request: Add) -> None:
    """Remove a probe."""
    calls.append(request)
    with ctx.begin():
        ctx.emit("probe.removed", f"probes/{request.name}", project="p")


@operation("probes.find", permission="probes:read")
def find(ctx: Context, request: Add) -> list[Added]:
    """Find probes."""
    calls.append(request)
    return [Added(request.name, len(calls))]


@operation("probes.fail", permission="probes:write", emits=("probe.added",))
def fail(ctx: Context, request: Add) -> Added:
    """Fail after having done something."""
    add(ctx, request)
    raise NotFound("There is no such probe.")


@operation("probes.add_two", permission="probes:admin", emits=("probe.added",))
def add_two(ctx: Context, request: Add) -> list[Added]:
    """Add two, in one change."""
    with ctx.begin():
        return [add(ctx, request), add(ctx, request)]


@pytest.fixture(autouse=True)
def _no_calls():
    calls.clear()


@pytest.fixture
def ctx(database, make_ctx):
    return make_ctx(database)


def types(ctx):
    with ctx.database.read() as tx:
        return [event.type for event in read_after(tx, 0)]


class Allow:
    def __init__(self, *permissions):
        self.permissions = permissions
        self.asked = []

    def check(self, actor, permission):
        self.asked.append((actor.name, permission))
        if permission not in self.permissions:
            raise Forbidden(f"{actor.name} may not {permission}.")


def test_a_declaration_says_everything_about_an_operation():
    assert (add.name, add.path, add.permission, add.emits) == (
        "probes.add",
        "/probes/add",
        "probes:write",
        ("probe.added",),
    )
    assert (add.input, add.output, add.reads) == (Add, Added, False)
    assert (find.output, find.reads) == (list[Added], True)
    assert remove.output is type(None)
    assert add.summary == "Add a probe."
    assert isinstance(add, Operation)
    assert repr(add) == "<operation probes.add>"


def test_without_permission_nothing_happens(database, make_ctx):
    policy = Allow("probes:read")
    ctx = make_ctx(database, policy=policy)
    with pytest.raises(Forbidden, match="ada may not probes:write"):
        add(ctx, Add("x"))
    with pytest.raises(Forbidden):
        add(ctx.once("key"), Add("x"))
    assert calls == types(ctx) == []
    find(ctx, Add("x"))
    assert policy.asked == [("ada", "probes:write"), ("ada", "probes:write"), ("ada", "probes:read")]


def test_an_answer_known_by_its_key_still_needs_the_permission(database, make_ctx):
    add(make_ctx(database).once("key"), Add("x"))
    with pytest.raises(Forbidden):
        add(make_ctx(database, policy=Allow(), idempotency_key="key"), Add("x"))


def test_operations_called_inside_are_asked_for_too(database, make_ctx):
    ctx = make_ctx(database, policy=Allow("probes:admin"))
    with pytest.raises(Forbidden, match="probes:write"):
        add_two(ctx, Add("x"))
    assert types(ctx) == []


def test_without_a_key_each_call_is_a_change(ctx):
    assert [add(ctx, Add("x")).call, add(ctx, Add("x")).call] == [1, 2]
    assert len(types(ctx)) == 2


def test_the_same_key_gives_the_same_answer_and_one_change(ctx, make_ctx):
    first = add(ctx.once("key"), Add("x"))
    again = add(make_ctx(ctx.database, idempotency_key="key"), Add("x"))
    assert again == first == Added("x", 1)
    assert len(types(ctx)) == len(calls) == 1


def test_a_key_is_refused_for_another_request_of_the_same_operation(ctx):
    first = add(ctx.once("key"), Add("x"))
    with pytest.raises(Conflict, match="used for another request of") as refused:
        add(ctx.once("key"), Add("y"))
    assert "choose another key" in refused.value.next_step
    assert add(ctx.once("key"), Add("x")) == first
    assert add(ctx.once("other"), Add("y")) == Added("y", 2)


def test_an_operation_without_an_answer_happens_once_too(ctx):
    assert remove(ctx.once("key"), Add("x")) is None
    assert remove(ctx.once("key"), Add("x")) is None
    assert types(ctx) == ["probe.removed"]


def test_other_keys_are_other_calls(ctx):
    for key in ("key", "KEY", "key ", " key", "key.", "x" * 200):
        add(ctx.once(key), Add("x"))
    assert len(types(ctx)) == 6


def test_the_same_key_of_another_actor_is_another_call(ctx, make_ctx):
    """Otherwise one actor would read the answer meant for another, and its own change would silently not happen."""
    mine = add(ctx.once("1"), Add("mine"))
    theirs = add(make_ctx(ctx.database, actor=Actor("bob"), idempotency_key="1"), Add("theirs"))
    service = add(make_ctx(ctx.database, actor=Actor("ada", "service"), idempotency_key="1"), Add("service"))
    assert [mine.name, theirs.name, service.name] == ["mine", "theirs", "service"]


def test_the_same_key_for_another_operation_is_a_conflict(ctx):
    add(ctx.once("key"), Add("x"))
    with pytest.raises(Conflict, match=r"'key' was used for probes\.add, not probes\.remove"):
        remove(ctx.once("key"), Add("x"))
    assert types(ctx) == ["probe.added"]


def test_a_call_that_failed_may_be_tried_again_under_its_key(ctx):
    with pytest.raises(NotFound):
        fail(ctx.once("key"), Add("x"))
    assert types(ctx) == []
    assert add(ctx.once("key"), Add("x")) == Added("x", 2)
    assert types(ctx) == ["probe.added"]


def test_operations_inside_are_part_of_the_call_that_has_the_key(ctx):
    once = ctx.once("key")
    first = add_two(once, Add("x"))
    assert once.idempotency_key == "key"
    assert add_two(once, Add("x")) == first == [Added("x", 1), Added("x", 2)]
    assert len(types(ctx)) == 2


def test_one_that_only_reads_does_not_remember(ctx):
    assert [find(ctx.once("key"), Add("x"))[0].call for _ in range(2)] == [1, 2]


@pytest.mark.parametrize("key", ["x" * 201, "a\nb", "\x00", "ключ", "a\x7f"])
def test_a_key_that_no_header_can_carry_is_refused(ctx, key):
    with pytest.raises(Invalid, match="not an idempotency key"):
        add(ctx.once(key), Add("x"))
    assert types(ctx) == []


def test_the_same_key_at_the_same_time_from_many_threads_is_one_change(ctx, make_ctx):
    start = threading.Barrier(8)

    def call(_):
        start.wait()
        return add(make_ctx(ctx.database, idempotency_key="key"), Add("x"))

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(call, range(8)))
    assert answers == [Added("x", 1)] * 8
    assert types(ctx) == ["probe.added"]


def test_the_same_key_at_the_same_time_on_two_hubs_is_one_change(database, make_ctx):
    """The second hub waits until the first has answered, and answers the same."""
    inside, go_on = threading.Event(), threading.Event()

    @operation("probes.slow", permission="probes:write", emits=("probe.added",))
    def slow(ctx: Context, request: Add) -> Added:
        inside.set()
        assert go_on.wait(10)
        return add(ctx, request)

    other = open_database(database.url.render_as_string(hide_password=False))
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(slow, make_ctx(database, idempotency_key="key"), Add("x"))
        assert inside.wait(10)
        second = threads.submit(slow, make_ctx(other, idempotency_key="key"), Add("x"))
        wait_until_blocked(database)
        go_on.set()
        assert first.result(20) == second.result(20) == Added("x", 1)
    other.close()
    assert types(make_ctx(database)) == ["probe.added"]


def wait_until_blocked(database):
    """Wait until PostgreSQL shows one that waits for a lock; SQLite shows nothing, and has one writer anyway."""
    if database.url.get_backend_name() == "sqlite":
        return
    waiting = sa.text(
        "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
        " WHERE NOT granted AND locktype = 'advisory' AND datname = current_database()"
    )
    for _ in range(5000):
        with database.read() as tx:
            if tx.scalar(waiting):
                return
        time.sleep(0.001)
    pytest.fail("the second hub did not wait for the first")


def test_what_is_asked_of_others_is_asked_before_a_transaction_and_not_again_for_a_known_key(ctx):
    asked = []

    def ask(ctx, request):
        asked.append(request.name)
        # Another connection can write meanwhile.
        with ctx.database.begin() as tx:
            assert tx.in_transaction()
        if request.name == "bad":
            raise Invalid("Nobody knows it.")

    @operation("probes.ask", permission="probes:write", emits=("probe.added",), before=ask)
    def add_asked(ctx: Context, request: Add) -> Added:
        """Add a probe that others know."""
        return add(ctx, request)

    first = add_asked(ctx.once("key"), Add("x"))
    assert add_asked(ctx.once("key"), Add("x")) == first
    add_asked(ctx, Add("y"))
    for bad in (ctx, ctx.once("bad")):
        with pytest.raises(Invalid):
            add_asked(bad, Add("bad"))
    assert asked == ["x", "y", "bad", "bad"]


def test_an_operation_that_waits_for_others_is_done_again_whatever_the_key(ctx):
    @operation("probes.call", permission="probes:write", emits=("probe.added",), keyed=False)
    def call(ctx: Context, request: Add) -> Added:
        """Call somebody."""
        return add(ctx, request)

    assert [call(ctx.once("key"), Add("x")).call for _ in range(2)] == [1, 2]
