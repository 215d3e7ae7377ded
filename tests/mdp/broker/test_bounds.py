"""What is full says so, at the cost of who has most; and nothing grows for ever."""

from __future__ import annotations

from tests.mdp.bench import Bench
from zxmpp.mdp.messages import Command, Meta, meta_of
from zxmpp.mdp.wire import Message

ID = "an id that nobody can guess"


def metas(bench: Bench, peer: bytes) -> list[tuple[Command, Meta, list[bytes]]]:
    found: list[Message] = bench.messages(peer)
    return [(item.command, meta_of(item.meta or b""), item.body) for item in found]


def test_a_full_queue_makes_room_at_the_cost_of_who_waits_with_most() -> None:
    bench = Bench(queue=4)
    for number in range(4):
        bench.submit(f"flood {number}", fair="flood", body=b"f%d" % number)
    bench.submit("guest", fair="guest", body=b"guest")
    assert [
        (told.request.id, told.problem and told.problem.condition) for told in bench.told()
    ] == [("flood 3", "queue-full")]
    bench.submit("flood 4", fair="flood")
    assert [told.request.id for told in bench.told()] == ["flood 4"]
    # Two against two: nobody has to give way.
    bench.submit("guest 2", fair="guest", body=b"guest 2")
    bench.submit("third", fair="guest")
    assert [told.request.id for told in bench.told()] == ["flood 2", "third"]
    bench.ours(b"w", credit=9)
    assert [body for _, _, body in bench.requests()] == [b"f0", b"guest", b"f1", b"guest 2"]


def test_who_would_then_have_most_has_to_wait_outside() -> None:
    bench = Bench(queue=3)
    for fair in ("anna", "anna", "ben"):
        bench.submit(f"{fair} {bench.broker.requests.open}", fair=fair)
    bench.submit("ben too", fair="ben")
    assert [told.request.id for told in bench.told()] == ["ben too"]


def test_the_deadlines_of_what_has_ended_are_not_kept(bench: Bench) -> None:
    bench.ours(b"w")
    for number in range(2500):
        bench.submit(f"{number}")
        [(_, address, _)] = bench.requests()
        bench.reply_ours(b"w", address)
        if number == 10:
            assert bench.broker.requests.next_deadline is None
            bench.submit("waits long", timeout=3000)
            [(_, waits, _)] = bench.requests()
            bench.control(b"w", Command.CREDIT, credit=2)
    assert len(bench.broker.requests._deadlines) < 1100
    bench.reply_ours(b"w", waits)
    assert bench.broker.requests.next_deadline is None


def test_all_requests_together_are_bounded_in_number_and_bytes() -> None:
    bench = Bench(total=2, total_bytes=10)
    bench.ours(b"w", credit=9)
    bench.submit("one", body=b"12345")
    bench.submit("too big", body=b"123456")
    bench.submit("two", body=b"12345")
    bench.submit("three", body=b"")
    assert [(told.request.id, told.problem and told.problem.condition) for told in bench.told()] == [
        ("too big", "broker-full"), ("three", "broker-full"),
    ]  # fmt: skip
    for _, address, _ in bench.requests():
        bench.reply_ours(b"w", address)
    bench.submit("four", body=b"1234567890")
    assert all(told.problem is None for told in bench.told())


def test_a_plain_client_is_not_told_of_a_failure_but_it_is_counted() -> None:
    bench = Bench(timeout=5, max_timeout=5)
    bench.ask(b"client")
    bench.tick(5)
    assert bench.take() == []
    assert (bench.counts["timeout"], bench.counts["untold"]) == (1, 1)
