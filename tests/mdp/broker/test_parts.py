"""Parts of answers, for each kind of asker."""

from __future__ import annotations

import pytest

from tests.mdp.bench import Bench, problem
from zxmpp.mdp.messages import Command, Meta, Problem, meta_of
from zxmpp.mdp.wire import V01, V02, Dialect, Message, Tag02

ID = "an id that nobody can guess"


def metas(bench: Bench, peer: bytes) -> list[tuple[Command, Meta, list[bytes]]]:
    found: list[Message] = bench.messages(peer)
    return [(item.command, meta_of(item.meta or b""), item.body) for item in found]


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
