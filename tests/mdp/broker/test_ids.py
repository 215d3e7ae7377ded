"""Idempotent by id: what is asked again is not run again, and nobody takes what is another's."""

from __future__ import annotations

import pytest

from tests.mdp.bench import Bench, problem
from zxmpp.mdp.messages import Command, Meta, encode_meta, meta_of
from zxmpp.mdp.wire import V02, Message

ID = "an id that nobody can guess"


def metas(bench: Bench, peer: bytes) -> list[tuple[Command, Meta, list[bytes]]]:
    found: list[Message] = bench.messages(peer)
    return [(item.command, meta_of(item.meta or b""), item.body) for item in found]


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
