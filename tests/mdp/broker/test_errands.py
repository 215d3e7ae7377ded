"""Services that the embedding process serves itself: handed over at once, ended once."""

from __future__ import annotations

import pytest

from tests.mdp.bench import Bench, problem
from zxmpp.mdp.broker import Request
from zxmpp.mdp.messages import Command, Problem
from zxmpp.mdp.wire import V01, V02, Dialect

ID = "an id that nobody can guess"
REFUSED = Problem("forbidden", "no")


class House:
    """Serves ``own.here``, and keeps what it is given."""

    def owns(self, service: bytes) -> bool:
        return service.startswith(b"own.")

    def has(self, service: bytes) -> bool:
        return service == b"own.here"

    def take(self, request: Request) -> None: ...
    def recall(self, request: Request) -> None: ...


@pytest.fixture
def own(bench: Bench) -> Bench:
    bench.broker.errands.serve(House())
    return bench


def errand(bench: Bench) -> Request:
    """The one request that was handed over."""
    [request] = bench.broker.outgoing.errands
    bench.broker.outgoing.errands = []
    return request


def recalled(bench: Bench) -> list[Request]:
    found, bench.broker.outgoing.recalled = bench.broker.outgoing.recalled, []
    return found


def at_rest(bench: Bench) -> bool:
    requests = bench.broker.requests
    return not (requests.open or requests.open_bytes or requests.here or requests.services
                or requests.by_id or requests.waiting)  # fmt: skip


@pytest.mark.parametrize("dialect", [V01, V02])
def test_a_plain_client_is_answered(own: Bench, dialect: Dialect) -> None:
    own.ask(b"client", b"hi", b"own.x", dialect)
    request = errand(own)
    assert (request.service.name, request.body) == (b"own.x", [b"hi"])
    assert own.broker.errands.answer(request, [b"answer"], own.now)
    [message] = own.messages(b"client")
    assert (message.command, message.body) == (Command.FINAL, [b"answer"])
    assert at_rest(own)
    assert not recalled(own)


def test_parts_go_to_who_takes_them_and_are_joined_for_who_does_not(own: Bench) -> None:
    for dialect, wanted in ((V01, [[b"a", b"b"]]), (V02, [[b"a"], [b"b"], [b""]])):
        own.ask(b"client", b"hi", b"own.x", dialect)
        request = errand(own)
        for part in (b"a", b"b"):
            own.broker.errands.part(request, [part], None, own.now)
        own.broker.errands.part(request, [b""], 0.5, own.now)
        own.broker.errands.answer(request, [b""], own.now)
        assert [message.body for message in own.messages(b"client")] == wanted
    assert at_rest(own)


def test_a_refusal_is_a_problem_for_our_client_and_a_body_for_any_other(own: Bench) -> None:
    own.ask_ours(b"client", ID, service=b"own.x")
    assert own.broker.errands.refuse(errand(own), REFUSED, [b"no"], own.now)
    assert [problem(message) for message in own.messages(b"client")] == ["forbidden"]
    own.ask(b"client", service=b"own.x")
    assert own.broker.errands.refuse(errand(own), REFUSED, [b"no"], own.now)
    assert [message.body for message in own.messages(b"client")] == [[b"no"]]
    assert at_rest(own)


def test_it_ends_once(own: Bench) -> None:
    own.ask_ours(b"client", ID, service=b"own.x")
    request = errand(own)
    assert own.broker.errands.answer(request, [b"1"], own.now)
    assert not own.broker.errands.answer(request, [b"2"], own.now)
    assert not own.broker.errands.refuse(request, REFUSED, [b"no"], own.now)
    own.broker.errands.part(request, [b"late"], None, own.now)
    assert [message.body for message in own.messages(b"client")] == [[b"1"]]


def test_what_runs_out_of_time_is_recalled(own: Bench) -> None:
    own.ask_ours(b"client", ID, service=b"own.x", timeout=5)
    request = errand(own)
    own.tick(4.9)
    assert not recalled(own)
    own.tick(0.2)
    assert recalled(own) == [request]
    assert [problem(message) for message in own.messages(b"client")] == ["timeout"]
    assert not own.broker.errands.answer(request, [b"late"], own.now)
    assert at_rest(own)


def test_what_is_cancelled_or_asked_by_who_is_gone_is_recalled(own: Bench) -> None:
    own.ask_ours(b"client", ID, service=b"own.x")
    first = errand(own)
    own.broker.cancel(first, own.now)
    own.ask_ours(b"client", ID + "2", service=b"own.x")
    second = errand(own)
    own.broker.gone(b"client", own.now)
    assert recalled(own) == [first, second]
    assert at_rest(own)


def test_the_end_of_the_broker_recalls_all(own: Bench) -> None:
    own.ask_ours(b"client", ID, service=b"own.x")
    request = errand(own)
    own.broker.shut_down(own.now)
    assert recalled(own) == [request]
    assert [problem(message) for message in own.messages(b"client")] == ["stopping"]


def test_no_worker_can_take_such_a_service(own: Bench) -> None:
    own.worker(b"w", b"own.here")
    assert own.complaints() == [(b"w", "reserved-service")]
    assert [message.command for message in own.messages(b"w")] == [Command.DISCONNECT]
    assert not own.broker.workers
    own.worker(b"w", b"other")
    assert list(own.broker.workers) == [b"w"]


def test_mmi_knows_them(own: Bench) -> None:
    for name in (b"own.here", b"own.x", b"other"):
        own.ask(b"client", name, b"mmi.service")
    assert [message.body for message in own.messages(b"client")] == [[b"200"], [b"404"], [b"404"]]


def test_the_bound_of_all_requests_counts_them(bench: Bench) -> None:
    full = Bench(total=2)
    full.broker.errands.serve(House())
    for number in range(3):
        full.ask_ours(b"client", f"{ID}{number}", service=b"own.x")
    assert len(full.broker.outgoing.errands) == 2
    assert [problem(message) for message in full.messages(b"client")] == ["broker-full"]
