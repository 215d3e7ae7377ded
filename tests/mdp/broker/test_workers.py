"""Workers: how long they may be silent, how much they hold, and who gets the next request."""

from __future__ import annotations

import pytest

from tests.mdp.bench import Bench, read
from zxmpp.mdp.messages import Command, meta_of
from zxmpp.mdp.wire import V01, V02, Dialect, Message, Tag02

PLAIN = pytest.mark.parametrize("dialect", [V01, V02, Tag02], ids=lambda dialect: dialect.name)


def quick(**more: float) -> Bench:
    return Bench(heartbeat=1, liveness=3, lease=10, **more)


def cancels(bench: Bench) -> list[tuple[bytes, bytes, bool]]:
    """CANCELs since the last look: worker, address, whether they only recall."""
    found: list[tuple[bytes, Message]] = []
    for to, frames in bench.take():
        message = read(frames)
        if message.command is Command.CANCEL:
            found.append((to, message))
    return [(to, item.name, meta_of(item.meta or b"").recall) for to, item in found]


# -- silence --------------------------------------------------------------------------------------


@PLAIN
def test_an_idle_worker_that_is_silent_is_given_up_after_its_heartbeats(dialect: Dialect) -> None:
    bench = quick()
    bench.worker(b"w", dialect=dialect)
    for _ in range(3):
        bench.tick(1)
    assert bench.take() == [(b"w", dialect.heartbeat)] * 3
    bench.tick(1)
    assert bench.take() == [(b"w", dialect.disconnect)]
    assert bench.counts["worker-silent"] == 1
    bench.ask(b"client")
    assert bench.take() == []


@PLAIN
def test_a_busy_plain_worker_may_be_silent_for_its_lease(dialect: Dialect) -> None:
    bench = quick()
    bench.worker(b"w", dialect=dialect)
    for _ in range(3):
        # It was silent before: the lease begins with the request.
        bench.tick(1)
    bench.ask(b"client", dialect=dialect)
    [(_, address, _)] = bench.requests()
    for _ in range(10):
        bench.tick(1)
    assert bench.take() == [(b"w", dialect.heartbeat)] * 10
    bench.reply(b"w", address, dialect=dialect)
    assert [to for to, _ in bench.take()] == [b"client"]
    # Idle again: a heartbeat's time from its answer on.
    for _ in range(3):
        bench.tick(1)
    assert bench.take() == [(b"w", dialect.heartbeat)] * 3
    bench.tick(1)
    assert bench.take() == [(b"w", dialect.disconnect)]


def test_a_plain_worker_that_outlives_its_lease_loses_its_request_to_another() -> None:
    bench = quick()
    bench.worker(b"w")
    bench.ask(b"client")
    bench.take()
    for _ in range(11):
        bench.tick(1)
    assert bench.take()[-1] == (b"w", V01.disconnect)
    bench.worker(b"x")
    [(to, address, body)] = bench.requests()
    assert (to, body) == (b"x", b"x")
    bench.reply(b"x", address)
    assert [to for to, _ in bench.take()] == [b"client"]


def test_a_busy_worker_of_ours_has_no_lease() -> None:
    bench = quick()
    bench.ours(b"w")
    bench.ask(b"client")
    bench.take()
    for _ in range(4):
        bench.tick(1)
    assert bench.take()[-1] == (b"w", V02.disconnect)


def test_any_word_of_a_worker_is_a_sign_of_life() -> None:
    bench = quick()
    bench.ours(b"w", credit=2)
    bench.ask(b"client")
    [(_, address, _)] = bench.requests()
    for _ in range(3):
        bench.tick(2)
        bench.reply_ours(b"w", address, b"", command=Command.PARTIAL, progress=0.1)
        bench.tick(2)
        bench.control(b"w", Command.CREDIT, credit=2)
    assert "worker-silent" not in bench.counts


def test_clients_of_ours_that_wait_hear_that_the_broker_lives() -> None:
    bench = quick()
    bench.ask_ours(b"client", "an id that nobody can guess", timeout=2.5)
    bench.ask(b"plain")
    bench.tick(1)
    bench.tick(1)
    assert bench.take() == [(b"client", V02.client_heartbeat)] * 2
    bench.tick(1)
    assert [to for to, _ in bench.take()] == [b"client"]
    bench.tick(1)
    assert bench.take() == []


def test_a_probe_reaches_every_worker_and_waiting_client_at_once() -> None:
    bench = quick()
    bench.worker(b"w", service=b"other")
    bench.ask_ours(b"client", "an id that nobody can guess")
    bench.broker.probe(bench.now)
    assert bench.take() == [(b"w", V01.heartbeat), (b"client", V02.client_heartbeat)]


# -- who gets what --------------------------------------------------------------------------------


@PLAIN
def test_a_plain_worker_gets_one_request_at_a_time(bench: Bench, dialect: Dialect) -> None:
    bench.worker(b"w", dialect=dialect)
    for number in range(3):
        bench.ask(b"client", b"%d" % number)
    for number in range(3):
        [(_, address, body)] = bench.requests()
        assert body == b"%d" % number
        if dialect is V02:
            bench.reply(b"w", address, dialect=dialect, command=Command.PARTIAL)
            assert bench.requests() == []
        bench.reply(b"w", address, dialect=dialect)
    assert bench.broker.requests.open == 0


def test_a_worker_of_ours_gets_as_many_as_its_credit_and_no_more_than_the_broker_allows() -> None:
    bench = Bench(max_credit=3)
    bench.ours(b"w", slots=1, credit=100)
    for number in range(5):
        bench.ask(b"client", b"%d" % number)
    given = bench.requests()
    assert [body for _, _, body in given] == [b"0", b"1", b"2"]
    bench.reply_ours(b"w", given[0][1])
    assert [body for _, _, body in bench.requests()] == [b"3"]
    bench.control(b"w", Command.CREDIT, credit=0)
    bench.reply_ours(b"w", given[1][1])
    assert bench.requests() == []
    bench.control(b"w", Command.CREDIT, credit=100)
    assert [body for _, _, body in bench.requests()] == [b"4"]


def test_free_slots_are_filled_before_anything_is_kept_ready_in_a_busy_worker(bench: Bench) -> None:
    bench.ours(b"v", slots=1, credit=5)
    bench.ours(b"w", slots=2, credit=5)
    for _ in range(3):
        bench.ask(b"client")
    assert sorted(to for to, _, _ in bench.requests()) == [b"v", b"w", b"w"]


def test_the_worker_that_waits_longest_is_next(bench: Bench) -> None:
    for name in (b"1", b"2", b"3"):
        bench.worker(name)
    order = []
    for _ in range(6):
        bench.ask(b"client")
        [(to, address, _)] = bench.requests()
        order.append(to)
        bench.reply(to, address)
        bench.take()
    assert order == [b"1", b"2", b"3"] * 2


def test_what_a_worker_hands_back_goes_to_another_and_costs_no_attempt() -> None:
    bench = Bench(attempts=1)
    bench.ours(b"w")
    bench.submit("one", body=b"1")
    bench.submit("two", body=b"2")
    [(_, address, _)] = bench.requests()
    bench.control(b"w", Command.CREDIT, credit=0)
    bench.control(b"w", Command.RETURN, address)
    assert bench.take() == []
    bench.ours(b"x", credit=2)
    first, second = bench.messages(b"x")
    assert (first.body, second.body) == ([b"1"], [b"2"])
    assert meta_of(first.meta or b"").attempt == 1
    assert bench.told() == []
    assert bench.counts["returned"] == 1


def test_what_a_worker_has_begun_to_answer_it_cannot_hand_back(bench: Bench) -> None:
    bench.ours(b"w")
    bench.ask(b"client", dialect=V02)
    [(_, address, _)] = bench.requests()
    bench.reply_ours(b"w", address, command=Command.PARTIAL)
    bench.take()
    bench.control(b"w", Command.RETURN, address)
    assert bench.take() == [(b"w", V02.disconnect)]
    assert bench.complaints() == [(b"w", "unexpected-return")]


# -- recall ---------------------------------------------------------------------------------------


def test_what_lies_unstarted_in_a_busy_worker_is_recalled_for_a_free_one() -> None:
    bench = Bench(recall=0.1)
    bench.ours(b"busy", slots=1, credit=4)
    for number in range(3):
        bench.ask(b"client", b"%d" % number)
    given = bench.requests()
    assert [to for to, _, _ in given] == [b"busy"] * 3
    bench.tick(0.2)
    assert cancels(bench) == []
    bench.ours(b"free", slots=1, credit=4)
    bench.tick(0.0)
    # One slot is free, so one request is asked for, and once.
    assert cancels(bench) == [(b"busy", given[1][1], True)]
    bench.tick(0.2)
    assert cancels(bench) == []
    bench.control(b"busy", Command.RETURN, given[1][1])
    assert [(to, body) for to, _, body in bench.requests()] == [(b"free", b"1")]
    bench.tick(0.2)
    assert cancels(bench) == []


def test_what_was_given_out_just_now_is_not_recalled() -> None:
    bench = Bench(recall=0.1)
    bench.ours(b"busy", slots=1, credit=4)
    bench.ask(b"client")
    bench.ask(b"client")
    bench.ours(b"free")
    bench.take()
    assert bench.broker.next_due(bench.now) == pytest.approx(bench.now + 0.1)
    bench.tick(0.05)
    assert cancels(bench) == []
    bench.tick(0.06)
    assert len(cancels(bench)) == 1


def test_a_worker_that_is_lost_does_not_run_what_others_hold(bench: Bench) -> None:
    bench.worker(b"v")
    bench.worker(b"w")
    bench.ask(b"client", b"1")
    bench.ask(b"client", b"2")
    bench.take()
    bench.broker.gone(b"v", bench.now)
    assert bench.take() == []
    bench.worker(b"x")
    assert [(to, body) for to, _, body in bench.requests()] == [(b"x", b"1")]


def test_addresses_are_never_used_twice(bench: Bench) -> None:
    bench.worker(b"w")
    seen = set()
    for _ in range(5):
        bench.ask(b"client")
        [(_, address, _)] = bench.requests()
        assert address not in seen
        seen.add(address)
        bench.broker.gone(b"w", bench.now)
        bench.worker(b"w")
        [(_, address, _)] = bench.requests()
        assert address not in seen
        seen.add(address)
        bench.reply(b"w", address)
        bench.take()


@PLAIN
def test_a_broker_that_stood_still_does_not_take_its_workers_for_dead(dialect: Dialect) -> None:
    bench = quick()
    bench.worker(b"w", dialect=dialect)
    # A laptop that slept, a process that was stopped: what the worker said meanwhile is not read yet.
    bench.stand_still(100)
    assert bench.take() == [(b"w", dialect.heartbeat)]
    bench.tick(5)
    assert bench.counts["worker-silent"] == 1
