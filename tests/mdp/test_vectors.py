"""Valid traffic of both versions, frame by frame: what the broker does with it, and what it sends.

A worker's answers in the vectors name the address ``client-1``. Addresses are the broker's own and
opaque to workers, so here it stands for the address that the broker gave with client-1's request.

What the RFCs leave open ("choice"): a client of 0.1 gets the parts of a 0.2 worker joined in its one
REPLY; a client of 0.2 gets the REPLY of a 0.1 worker as one FINAL.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.mdp.bench import Bench, read
from zxmpp.mdp.messages import Command
from zxmpp.mdp.wire import DIALECTS, V01, V02, Dialect

VECTORS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("vectors.json").read_text())
PEER = b"\x00peer"


def frames_of(vector: dict[str, Any], key: str = "frames_hex") -> list[bytes]:
    return [bytes.fromhex(frame) for frame in vector[key]]


def select(*expect: str) -> Any:
    chosen = [vector for vector in VECTORS if vector.get("expect", "sent") in expect]
    assert chosen
    return pytest.mark.parametrize("vector", chosen, ids=[vector["name"] for vector in chosen])


def prepare(bench: Bench, vector: dict[str, Any]) -> bytes:
    """The `given` state; PEER is the worker that the vector is about. The address of the request
    that it holds, if any."""
    dialect = DIALECTS[vector["version"]]
    address = b""
    match vector["given"]:
        case "fresh":
            pass
        case "a request for echo is queued, no worker":
            bench.ask(b"client-1")
        case "worker registered for echo" | "registered for echo":
            bench.worker(PEER, dialect=dialect)
        case "worker for echo registered, then DISCONNECT":
            bench.worker(PEER, dialect=dialect)
            bench.send(PEER, dialect.disconnect)
        case "busy with a request of client-1" | "the only worker for echo is busy":
            bench.worker(PEER, dialect=dialect)
            bench.ask(b"client-1", dialect=dialect)
            [(_, address, _)] = bench.requests()
        case "the only worker for echo speaks 0.2":
            bench.worker(PEER, dialect=V02)
        case "the only worker for echo speaks 0.1":
            bench.worker(PEER, dialect=V01)
        case other:
            raise AssertionError(f"unknown state {other!r}")
    assert bench.take() == []
    return address


@select("queue")
def test_a_request_waits_and_reaches_the_next_worker_unchanged(
    bench: Bench, vector: dict[str, Any]
) -> None:
    prepare(bench, vector)
    frames = frames_of(vector)
    bench.send(b"client-1", frames)
    assert bench.take() == []
    assert bench.complaints() == []
    service = frames[2]
    bench.worker(PEER, service)
    [(to, given)] = bench.take()
    address = given[3]
    assert (to, given) == (PEER, [b"", b"MDPW01", b"\x02", address, b"", *frames[3:]])
    bench.reply(PEER, address, b"done")
    dialect = DIALECTS[vector["version"]]
    assert bench.take() == [(b"client-1", dialect.client_final(service, [b"done"]))]


@select("reply")
def test_the_broker_itself_answers_with_exactly_these_frames(
    bench: Bench, vector: dict[str, Any]
) -> None:
    prepare(bench, vector)
    bench.send(b"asker", frames_of(vector))
    assert bench.take() == [(b"asker", frames_of(vector, "reply_hex"))]
    assert bench.complaints() == []


@select("register")
def test_ready_registers_without_an_answer(bench: Bench, vector: dict[str, Any]) -> None:
    prepare(bench, vector)
    bench.send(PEER, frames_of(vector))
    assert bench.take() == []
    bench.ask(b"client-1")
    assert [to for to, _, _ in bench.requests()] == [PEER]


@select("forward", "forward-partial")
def test_an_answer_goes_to_the_client_as_its_version_has_it(
    bench: Bench, vector: dict[str, Any]
) -> None:
    address = prepare(bench, vector)
    dialect = DIALECTS[vector["version"]]
    frames = frames_of(vector)
    place = frames.index(b"client-1")
    body = frames[place + 2 :]
    frames[place] = address
    bench.send(PEER, frames)
    partial = vector["expect"] == "forward-partial"
    if partial:
        assert bench.take() == [(b"client-1", [b"MDPC02", b"\x02", b"echo", *body])]
    elif dialect is V02:
        assert bench.take() == [(b"client-1", [b"MDPC02", b"\x03", b"echo", *body])]
    else:
        assert bench.take() == [(b"client-1", [b"", b"MDPC01", b"echo", *body])]
    # After the last part the worker is idle again, before it is not.
    bench.ask(b"client-2")
    assert [to for to, _, _ in bench.requests()] == ([] if partial else [PEER])


@select("refresh")
def test_a_heartbeat_is_a_sign_of_life_and_no_more(vector: dict[str, Any]) -> None:
    bench = Bench(heartbeat=1, liveness=3, lease=3)
    address = prepare(bench, vector)
    dialect = DIALECTS[vector["version"]]
    for _ in range(6):
        bench.tick(1)
        bench.send(PEER, frames_of(vector))
        assert bench.take() == [(PEER, dialect.heartbeat)]
    if address:
        bench.reply(PEER, address, dialect=dialect)
        assert [to for to, _ in bench.take()] == [b"client-1"]
    # Without it the worker is given up.
    for _ in range(4):
        bench.tick(1)
    assert bench.take()[-1] == (PEER, dialect.disconnect)


@select("forget", "forget+requeue")
def test_disconnect_ends_a_registration_and_what_it_held_goes_to_another(
    bench: Bench, vector: dict[str, Any]
) -> None:
    address = prepare(bench, vector)
    bench.send(PEER, frames_of(vector))
    assert bench.take() == []
    bench.tick(20)
    assert bench.take() == [], "nothing more goes to who is gone"
    bench.worker(b"other", dialect=V02)
    requeued = [(to, body) for to, _, body in bench.requests()]
    assert requeued == ([(b"other", b"x")] if address else [])
    assert bool(address) == (vector["expect"] == "forget+requeue")


@select("ignore")
def test_disconnect_of_a_stranger_is_nothing(bench: Bench, vector: dict[str, Any]) -> None:
    prepare(bench, vector)
    bench.send(PEER, frames_of(vector))
    assert bench.take() == []
    assert bench.complaints() == []
    assert bench.counts == {}


@select("choice")
def test_peers_of_both_versions_understand_each_other(vector: dict[str, Any]) -> None:
    bench = Bench()
    prepare(bench, vector)
    bench.send(b"client-1", frames_of(vector))
    [(to, given)] = bench.take()
    assert to == PEER
    if vector["version"] == "0.1":
        address = given[2]
        assert given == [b"MDPW02", b"\x02", address, b"", b"x"]
        bench.reply(PEER, address, b"one", dialect=V02, command=Command.PARTIAL)
        assert bench.take() == []
        bench.reply(PEER, address, b"two", dialect=V02)
        assert bench.take() == [(b"client-1", [b"", b"MDPC01", b"echo", b"one", b"two"])]
    else:
        address = given[3]
        assert given == [b"", b"MDPW01", b"\x02", address, b"", b"x"]
        bench.reply(PEER, address, b"done")
        assert bench.take() == [(b"client-1", [b"MDPC02", b"\x03", b"echo", b"done"])]


def encoded(dialect: Dialect, name: str, frames: list[bytes]) -> list[bytes]:
    """What our encoder makes of the fields of a vector from the broker."""
    skip = 1 if dialect is V01 else 0
    kind = name.split("-", 1)[1]
    match kind.split("-")[:2]:
        case ["c", "reply"]:
            return dialect.client_final(frames[2], frames[3:])
        case ["c", "final"]:
            return dialect.client_final(frames[2], frames[3:])
        case ["c", "partial"]:
            return dialect.client_partial(frames[2], frames[3:])
        case ["w", "request"]:
            return dialect.request(frames[2 + skip], frames[4 + skip :])
        case ["b", "heartbeat"]:
            return dialect.heartbeat
        case ["b", "disconnect"]:
            return dialect.disconnect
    raise AssertionError(name)


@select("sent")
def test_what_the_broker_sends_is_written_so_and_read_so(vector: dict[str, Any]) -> None:
    dialect, frames = DIALECTS[vector["version"]], frames_of(vector)
    assert encoded(dialect, vector["name"], frames) == frames
    message = read(frames)
    assert message.dialect is dialect
    assert message.worker == (vector["direction"] == "broker>worker")
    assert message.meta is None
    kind = vector["name"].split("-")[2]
    assert message.command == {"reply": "final"}.get(kind, kind)
    if message.command is Command.REQUEST:
        skip = 1 if dialect is V01 else 0
        assert message.name == frames[2 + skip]
        assert message.body == frames[4 + skip :]
    elif message.command in (Command.FINAL, Command.PARTIAL):
        assert (message.name, message.body) == (b"echo", frames[3:])


def test_every_vector_is_tested() -> None:
    assert len(VECTORS) == 50
    assert {vector.get("expect", "sent") for vector in VECTORS} == {
        "queue", "reply", "register", "forward", "forward-partial", "refresh", "forget",
        "forget+requeue", "ignore", "choice", "sent",
    }  # fmt: skip
