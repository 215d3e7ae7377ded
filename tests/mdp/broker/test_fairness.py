"""Who asks a lot does not keep others from being served."""

from __future__ import annotations

from tests.mdp.bench import Bench
from zxmpp.mdp.broker.queue import FairQueue


def served(bench: Bench, most: int = 1000) -> list[bytes]:
    """What one plain worker gets, one after the other."""
    bench.worker(b"w")
    order = []
    while (given := bench.requests()) and len(order) < most:
        [(_, address, body)] = given
        order.append(body)
        bench.reply(b"w", address)
    return order


def test_askers_take_turns_whatever_each_has_waiting(bench: Bench) -> None:
    for number in range(50):
        bench.submit(f"flood {number}", fair="flood", body=b"flood")
    bench.submit("anna 1", fair="anna", body=b"anna 1")
    bench.submit("anna 2", fair="anna", body=b"anna 2")
    bench.ask(b"client", b"client")
    assert served(bench)[:6] == [b"flood", b"anna 1", b"client", b"flood", b"anna 2", b"flood"]


def test_each_askers_own_requests_keep_their_order(bench: Bench) -> None:
    for number in range(10):
        bench.submit(f"{number}", fair=f"{number % 3}", body=b"%d %d" % (number % 3, number))
    order = served(bench)
    for asker in (b"0", b"1", b"2"):
        own = [body for body in order if body.startswith(asker)]
        assert own == sorted(own)
    assert len(order) == 10


def test_clients_of_the_broker_are_told_apart_by_their_connection(bench: Bench) -> None:
    for number in range(9):
        bench.ask_ours(b"flood", f"an id that is hard to guess {number}", b"flood")
    bench.ask(b"guest", b"guest")
    assert served(bench).index(b"guest") == 1


def test_a_flood_that_is_refused_leaves_the_others_in_the_queue() -> None:
    bench = Bench(queue=10)
    bench.submit("anna", fair="anna", body=b"anna")
    for number in range(500):
        bench.submit(f"{number}", fair="flood", body=b"flood")
    bench.submit("ben", fair="ben", body=b"ben")
    refused = [told.request.fair for told in bench.told()]
    assert refused == ["flood"] * 492
    assert served(bench)[:3] == [b"anna", b"flood", b"ben"]


def test_a_queue_forgets_who_has_nothing_in_it() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.put("anna", "1")
    queue.put("ben", "2")
    queue.put("ben", "3")
    assert queue.crowd() == ("ben", 2)
    assert queue.newest("ben") == "3"
    queue.remove("anna", "1")
    assert (queue.take(), queue.take(), len(queue)) == ("2", "3", 0)
    assert (queue.depth("anna"), queue.depth("ben"), queue.crowd()) == (0, 0, ("", 0))
    assert not queue._by_asker


def test_what_is_put_first_is_next_whoever_asked(bench: Bench) -> None:
    queue: FairQueue[str] = FairQueue()
    queue.put("anna", "anna")
    queue.put("ben", "later")
    queue.put("ben", "first", first=True)
    assert [queue.take() for _ in range(3)] == ["first", "anna", "later"]
