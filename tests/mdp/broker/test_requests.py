"""Requests from their admission to their end: attempts, who may answer, time, cancellation."""

from __future__ import annotations

from tests.mdp.bench import Bench, problem
from zxmpp.mdp.messages import Command, Meta, encode_meta, meta_of
from zxmpp.mdp.wire import V01, V02, Message

ID = "an id that nobody can guess"


def metas(bench: Bench, peer: bytes) -> list[tuple[Command, Meta, list[bytes]]]:
    found: list[Message] = bench.messages(peer)
    return [(item.command, meta_of(item.meta or b""), item.body) for item in found]


# -- workers that die -----------------------------------------------------------------------------


def test_what_a_dead_worker_held_goes_first_and_in_its_order(bench: Bench) -> None:
    bench.ours(b"w", slots=1, credit=3)
    for number in range(5):
        bench.ask(b"client", b"%d" % number)
    bench.take()
    bench.broker.gone(b"w", bench.now)
    bench.ours(b"x", slots=1, credit=5)
    assert [body for _, _, body in bench.requests()] == [b"0", b"1", b"2", b"3", b"4"]
    assert bench.counts["requeued"] == 3


def test_only_what_a_worker_may_have_begun_costs_an_attempt() -> None:
    bench = Bench(attempts=1)
    bench.ours(b"w", slots=2, credit=4)
    for number in range(4):
        bench.submit(f"number {number}", body=b"%d" % number)
    bench.take()
    bench.broker.gone(b"w", bench.now)
    assert [(told.request.id, told.problem.condition) for told in bench.told() if told.problem] == [
        ("number 0", "dead-letter"), ("number 1", "dead-letter"),
    ]  # fmt: skip
    bench.ours(b"x", credit=9)
    assert [body for _, _, body in bench.requests()] == [b"2", b"3"]


def test_a_request_is_given_up_after_so_many_workers_and_kept_as_a_dead_letter() -> None:
    bench = Bench(attempts=3)
    request = bench.submit("x" * 16, body=b"poison", sender="anna@example.org", trace="t")
    for number in range(3):
        bench.ours(b"w%d" % number)
        [(_, meta, body)] = metas(bench, b"w%d" % number)
        assert (meta.attempt, meta.sender, meta.trace, body) == (
            number + 1, "anna@example.org", "t", [b"poison"],
        )  # fmt: skip
        assert bench.told() == []
        bench.broker.gone(b"w%d" % number, bench.now)
    [told] = bench.told()
    assert told.request is request
    assert told.problem is not None
    assert told.problem.condition == "dead-letter"
    [letter] = bench.broker.requests.dead_letters
    assert (letter.service, letter.body, letter.id) == (b"echo", [b"poison"], "x" * 16)
    assert (letter.sender, letter.trace, letter.attempts, letter.died) == (
        "anna@example.org", "t", 3, bench.now,
    )  # fmt: skip
    assert bench.counts["dead-letter"] == 1
    bench.ours(b"w9")
    assert bench.requests() == []


def test_dead_letters_are_bounded_in_number() -> None:
    bench = Bench(attempts=1, dead_letters=2)
    for number in range(3):
        bench.ask(b"client", b"%d" % number)
        bench.worker(b"w")
        bench.broker.gone(b"w", bench.now)
    assert [letter.body for letter in bench.broker.requests.dead_letters] == [[b"1"], [b"2"]]
    assert bench.counts["dead-letter"] == 3


# -- who may answer -------------------------------------------------------------------------------


def test_an_answer_to_what_a_worker_does_not_hold_is_refused_with_disconnect(bench: Bench) -> None:
    bench.worker(b"good")
    bench.ask(b"client")
    [(_, address, _)] = bench.requests()
    bench.worker(b"bad")
    bench.reply(b"bad", address, b"evil")
    assert bench.take() == [(b"bad", V01.disconnect)]
    assert bench.complaints() == [(b"bad", "foreign-answer")]
    # A client's routing id is no address either.
    bench.worker(b"bad")
    bench.reply(b"bad", b"client", b"evil")
    assert bench.take() == [(b"bad", V01.disconnect)]
    bench.reply(b"good", address, b"fine")
    assert bench.take() == [(b"client", V01.client_final(b"echo", [b"fine"]))]


def test_a_second_answer_reaches_nobody(bench: Bench) -> None:
    bench.worker(b"w")
    bench.ask(b"client")
    [(_, address, _)] = bench.requests()
    bench.reply(b"w", address)
    bench.take()
    bench.reply(b"w", address)
    assert bench.take() == [(b"w", V01.disconnect)]


def test_the_answer_of_a_worker_that_was_given_up_reaches_nobody(bench: Bench) -> None:
    bench.worker(b"w")
    bench.ask(b"client")
    [(_, address, _)] = bench.requests()
    bench.tick(125)
    assert bench.counts["worker-silent"] == 1
    bench.take()
    bench.reply(b"w", address)
    assert bench.take() == [(b"w", V01.disconnect)]


def test_a_late_answer_is_counted_and_the_worker_works_on(bench: Bench) -> None:
    bench.worker(b"w")
    request = bench.submit("late", timeout=5)
    [(_, address, _)] = bench.requests()
    bench.tick(5)
    [told] = bench.told()
    assert told.problem is not None
    assert told.problem.condition == "timeout"
    # A plain worker is left in peace, and gets nothing new before it has answered.
    bench.submit("next", body=b"next")
    assert [frames for to, frames in bench.take() if frames != V01.heartbeat] == []
    bench.reply(b"w", address)
    assert bench.told() == []
    assert bench.counts["late-answer"] == 1
    assert [body for _, _, body in bench.requests()] == [b"next"]
    assert request.id == "late"


# -- time and cancellation ------------------------------------------------------------------------


def test_a_request_whose_time_is_over_never_starts_though_the_tick_is_late(bench: Bench) -> None:
    bench.submit("too late", timeout=5)
    bench.submit("in time", timeout=50, body=b"in time")
    bench.now += 5
    bench.worker(b"w")
    assert [body for _, _, body in bench.requests()] == [b"in time"]
    assert [told.request.id for told in bench.told()] == ["too late"]


def test_no_time_at_all_is_a_timeout_at_once(bench: Bench) -> None:
    bench.ours(b"w")
    bench.ask_ours(b"client", ID, timeout=0)
    [(command, meta, _)] = metas(bench, b"client")
    assert command is Command.FINAL
    assert meta.problem is not None
    assert meta.problem.condition == "timeout"
    assert bench.requests() == []


def test_time_is_bounded_by_the_broker_and_has_a_default() -> None:
    bench = Bench(timeout=10, max_timeout=20)
    bench.ask_ours(b"client", ID, timeout=1e9)
    bench.ask_ours(b"client", ID + "2")
    assert bench.broker.next_due(bench.now) is not None
    bench.tick(10)
    assert [meta.id for _, meta, _ in metas(bench, b"client")] == [ID + "2"]
    bench.tick(10)
    assert [meta.id for _, meta, _ in metas(bench, b"client")] == [ID]


def test_a_cancellation_reaches_a_running_worker_of_ours_only(bench: Bench) -> None:
    bench.ours(b"ours")
    request = bench.submit("one")
    [(_, address, _)] = bench.requests()
    bench.broker.cancel(request, bench.now)
    bench.broker.cancel(request, bench.now)
    assert bench.take() == [(b"ours", V02.extended(Command.CANCEL, address, b"{}"))]
    assert [told.problem.condition for told in bench.told() if told.problem] == ["cancelled"]
    bench.control(b"ours", Command.RETURN, address)
    bench.send(b"ours", V02.disconnect)
    bench.worker(b"plain")
    request = bench.submit("two")
    bench.take()
    bench.broker.cancel(request, bench.now)
    assert bench.take() == []


def test_what_is_cancelled_while_it_waits_is_never_given_out(bench: Bench) -> None:
    bench.ask_ours(b"client", ID)
    bench.send(b"client", V02.client_extended(Command.CANCEL, b"echo", encode_meta(Meta(id=ID))))
    assert [problem(item) for item in bench.messages(b"client")] == ["cancelled"]
    bench.worker(b"w")
    assert bench.take() == []


def test_a_client_that_is_gone_cancels_what_it_waits_for(bench: Bench) -> None:
    bench.ours(b"w")
    bench.ask_ours(b"client", ID)
    [(_, address, _)] = bench.requests()
    bench.broker.gone(b"client", bench.now)
    assert bench.counts["asker-gone"] == 1
    assert (b"w", V02.extended(Command.CANCEL, address, b"{}")) in bench.take()


# -- the end --------------------------------------------------------------------------------------


def test_shutting_down_ends_everything_by_name(bench: Bench) -> None:
    bench.worker(b"w", b"other")
    bench.ask(b"client", service=b"other")
    bench.ask_ours(b"ours", ID)
    bench.submit("inside")
    bench.take()
    bench.broker.shut_down(bench.now)
    out = bench.take()
    assert (b"w", V01.disconnect) in out
    assert [told.problem.condition for told in bench.told() if told.problem] == ["stopping"]
    assert bench.counts["stopping"] == 3
    bench.ask_ours(b"ours", ID)
    assert [problem(item) for item in bench.messages(b"ours")] == ["stopping"]
    bench.tick(60)
    bench.tick(60)
    bench.assert_empty()
