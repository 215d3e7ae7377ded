"""Requests from their admission to their end: order, attempts, ids, parts, bounds."""

from __future__ import annotations

import pytest

from tests.mdp.bench import Bench, problem
from zxmpp.mdp.wire import (
    V01,
    V02,
    Command,
    Dialect,
    Message,
    Meta,
    Problem,
    Tag02,
    encode_meta,
    meta_of,
)

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
    bench.tick(121)
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


# -- ids ------------------------------------------------------------------------------------------


def test_an_id_that_runs_is_not_run_again_and_answers_who_asked_last(bench: Bench) -> None:
    bench.ours(b"w", credit=5)
    bench.ask_ours(b"old", ID)
    [(_, address, _)] = bench.requests()
    bench.ask_ours(b"new", ID)
    assert bench.take() == []
    bench.reply_ours(b"w", address, b"once")
    [(to, _)] = bench.take()
    assert to == b"new"
    assert bench.counts["repeated"] == 1
    # The old connection's end means nothing any more.
    bench.broker.gone(b"old", bench.now)
    assert "asker-gone" not in bench.counts


def test_the_end_of_the_old_connection_does_not_end_what_was_asked_anew(bench: Bench) -> None:
    bench.ask_ours(b"old", ID)
    bench.ask_ours(b"new", ID)
    bench.broker.gone(b"old", bench.now)
    bench.worker(b"w")
    assert len(bench.requests()) == 1


def test_an_id_that_was_answered_is_answered_again_for_a_while() -> None:
    bench = Bench(remember_seconds=10)
    bench.ours(b"w")
    bench.ask_ours(b"client", ID)
    [(_, address, _)] = bench.requests()
    bench.reply_ours(b"w", address, b"once")
    bench.take()
    bench.ask_ours(b"again", ID)
    [(command, meta, body)] = metas(bench, b"again")
    assert (command, meta.id, body) == (Command.FINAL, ID, [b"once"])
    bench.now += 10.1
    bench.ask_ours(b"again", ID)
    assert len(bench.requests()) == 1


def test_answers_that_are_kept_are_bounded_in_number_and_bytes() -> None:
    bench = Bench(remember=2, remember_bytes=10)
    bench.ours(b"w")
    for number, size in enumerate([1, 1, 1, 10, 11]):
        bench.ask_ours(b"client", ID + str(number))
        [(_, address, _)] = bench.requests()
        bench.reply_ours(b"w", address, b"x" * size)
        bench.take()
        assert len(bench.broker.requests.answers) == (1, 2, 2, 1, 0)[number]


def test_what_is_asked_inside_is_nobody_elses(bench: Bench) -> None:
    bench.ours(b"w")
    bench.submit(ID)
    [(_, address, _)] = bench.requests()
    bench.ask_ours(b"thief", ID)
    bench.send(b"thief", V02.client_extended(Command.CANCEL, b"echo", encode_meta(Meta(id=ID))))
    assert bench.take() == []
    assert bench.told() == []
    assert bench.complaints() == [(b"thief", "bad-id")]
    bench.reply_ours(b"w", address, b"mine")
    assert [told.body for told in bench.told()] == [[b"mine"]]
    assert bench.take() == []
    # Nor is its answer kept for anybody.
    bench.ask_ours(b"thief", ID)
    assert [to for to, _, _ in bench.requests()] == [b"w"]


@pytest.mark.parametrize("id", ["", "short", "x" * 15, "x" * 129])
def test_an_id_that_could_be_guessed_is_refused(bench: Bench, id: str) -> None:
    bench.ask_ours(b"client", id)
    assert [problem(item) for item in bench.messages()] == ["bad-request"]
    bench.worker(b"w")
    assert bench.take() == []


def test_a_long_trace_is_cut_so_that_the_worker_can_read_it(bench: Bench) -> None:
    bench.ours(b"w")
    bench.ask_ours(b"client", ID, trace="t" * 4000)
    [(_, meta, _)] = metas(bench, b"w")
    assert meta.trace == "t" * 128


# -- bounds ---------------------------------------------------------------------------------------


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


# -- parts ----------------------------------------------------------------------------------------


def test_parts_and_progress_reach_a_client_of_ours_numbered(bench: Bench) -> None:
    bench.ours(b"w")
    bench.ask_ours(b"client", ID)
    [(_, address, _)] = bench.requests()
    bench.reply_ours(b"w", address, b"one", command=Command.PARTIAL)
    bench.reply_ours(b"w", address, b"", command=Command.PARTIAL, progress=0.5)
    bench.reply_ours(b"w", address, b"two", command=Command.PARTIAL, progress=7.0)
    bench.reply_ours(b"w", address, b"end")
    found = [(c, m.part, m.progress, body) for c, m, body in metas(bench, b"client")]
    assert found == [
        (Command.PARTIAL, 1, None, [b"one"]), (Command.PARTIAL, 1, 0.5, []),
        (Command.PARTIAL, 2, None, [b"two"]), (Command.FINAL, 2, None, [b"end"]),
    ]  # fmt: skip
    # What was told in parts can't be told again.
    bench.ask_ours(b"client", ID)
    assert [problem(item) for item in bench.messages(b"client")] == ["interrupted"]


def test_a_worker_that_dies_in_mid_answer_begins_anew_for_an_asker_of_ours(bench: Bench) -> None:
    bench.worker(b"w", dialect=V02)
    bench.ask_ours(b"client", ID)
    [(_, address, _)] = bench.requests()
    bench.reply(b"w", address, b"part", dialect=V02, command=Command.PARTIAL)
    bench.take()
    bench.broker.gone(b"w", bench.now)
    [(command, meta, body)] = metas(bench, b"client")
    assert (command, meta.restart, body) == (Command.PARTIAL, True, [])
    bench.worker(b"x", dialect=V02)
    [(_, address, _)] = bench.requests()
    bench.reply(b"x", address, b"anew", dialect=V02, command=Command.PARTIAL)
    bench.reply(b"x", address, b"end", dialect=V02)
    assert [(m.part, body) for _, m, body in metas(bench, b"client")] == [
        (1, [b"anew"]), (1, [b"end"]),
    ]  # fmt: skip


def test_a_plain_client_that_has_parts_already_is_not_begun_anew(bench: Bench) -> None:
    bench.worker(b"w", dialect=V02)
    bench.ask(b"client", dialect=V02)
    [(_, address, _)] = bench.requests()
    bench.reply(b"w", address, b"part", dialect=V02, command=Command.PARTIAL)
    assert bench.take() == [(b"client", V02.client_partial(b"echo", [b"part"]))]
    bench.broker.gone(b"w", bench.now)
    bench.worker(b"x")
    assert bench.take() == []
    assert (bench.counts["interrupted"], bench.counts["untold"]) == (1, 1)


@pytest.mark.parametrize("dialect", [V01, Tag02])
def test_parts_are_joined_for_clients_that_take_one_answer(bench: Bench, dialect: Dialect) -> None:
    bench.worker(b"dies", dialect=V02)
    bench.ask(b"client", dialect=dialect)
    [(_, address, _)] = bench.requests()
    bench.reply(b"dies", address, b"lost", dialect=V02, command=Command.PARTIAL)
    bench.broker.gone(b"dies", bench.now)
    bench.worker(b"w", dialect=V02)
    [(_, address, _)] = bench.requests()
    bench.reply(b"w", address, b"a", dialect=V02, command=Command.PARTIAL)
    bench.reply(b"w", address, b"b", b"c", dialect=V02, command=Command.PARTIAL)
    assert bench.take() == []
    bench.reply(b"w", address, b"", dialect=V02)
    assert bench.take() == [(b"client", dialect.client_final(b"echo", [b"a", b"b", b"c"]))]


@pytest.mark.parametrize("part", [b"x" * 300, b""])
def test_an_answer_that_is_too_big_to_be_joined_is_given_up(part: bytes) -> None:
    bench = Bench(join_bytes=1000)
    bench.worker(b"w", dialect=V02)
    bench.ask(b"client")
    [(_, address, _)] = bench.requests()
    for _ in range(100):
        bench.reply(b"w", address, part, dialect=V02, command=Command.PARTIAL)
    assert bench.counts["answer-too-big"] == 1
    bench.reply(b"w", address, dialect=V02)
    assert bench.take() == []
    assert bench.counts["late-answer"] == 1
    bench.tick(60)
    assert bench.broker.requests.open_bytes == 0


def test_a_workers_failure_reaches_the_asker_by_name_and_in_a_size_it_can_read(
    bench: Bench,
) -> None:
    bench.ours(b"w")
    bench.ask_ours(b"client", ID)
    [(_, address, _)] = bench.requests()
    bench.reply_ours(b"w", address, problem=Problem("refused", "n" * 3900))
    [(command, meta, body)] = metas(bench, b"client")
    assert (command, body, meta.problem) == (Command.FINAL, [], Problem("refused", "n" * 500))


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
