"""What the broker says of itself (RFC 8), to clients of every kind and inside."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.mdp.bench import Bench
from zxmpp.mdp.messages import Command, meta_of
from zxmpp.mdp.wire import V01, V02, Dialect, Tag02

ID = "an id that nobody can guess"


def asked(bench: Bench, service: bytes, body: bytes = b"", dialect: Dialect = V01) -> list[bytes]:
    bench.ask(b"asker", body, service, dialect)
    [message] = bench.messages(b"asker")
    assert (message.command, message.name) == (Command.FINAL, service)
    return message.body


def report(bench: Bench, service: bytes) -> Any:
    code, body = asked(bench, service)
    assert code == b"200"
    return msgspec.json.decode(body)


@pytest.mark.parametrize("dialect", [V01, V02, Tag02], ids=lambda dialect: dialect.name)
def test_a_service_is_there_as_long_as_a_worker_is_registered(
    bench: Bench, dialect: Dialect
) -> None:
    assert asked(bench, b"mmi.service", b"echo", dialect) == [b"404"]
    bench.ask(b"client")
    assert asked(bench, b"mmi.service", b"echo", dialect) == [b"404"], "a queue is no worker"
    bench.worker(b"w")
    bench.take()
    assert asked(bench, b"mmi.service", b"echo", dialect) == [b"200"], "busy is there"
    assert asked(bench, b"mmi.service", b"Echo", dialect) == [b"404"]
    bench.send(b"w", V01.disconnect)
    assert asked(bench, b"mmi.service", b"echo", dialect) == [b"404"]


def test_a_question_of_two_frames_or_for_the_brokers_own_is_no_service(bench: Bench) -> None:
    bench.worker(b"w")
    bench.send(b"asker", V01.client_request(b"mmi.service", [b"echo", b"echo"]))
    assert [message.body for message in bench.messages()] == [[b"404"]]
    assert asked(bench, b"mmi.service", b"mmi.service") == [b"404"]


@pytest.mark.parametrize("service", [b"mmi.", b"mmi.unknown", b"mmi.filter", b"mmi.service.x"])
def test_anything_else_of_the_name_space_is_not_implemented(bench: Bench, service: bytes) -> None:
    assert asked(bench, service, b"x") == [b"501"]
    bench.assert_empty()


@pytest.mark.parametrize("service", [b"mmi.", b"mmi.service", b"mmi.mine"])
@pytest.mark.parametrize("dialect", [V01, V02, Tag02], ids=lambda dialect: dialect.name)
def test_nobody_registers_in_the_brokers_name_space(
    bench: Bench, service: bytes, dialect: Dialect
) -> None:
    bench.worker(b"w", service, dialect)
    assert bench.take() == [(b"w", dialect.disconnect)]
    assert bench.complaints() == [(b"w", "reserved-service")]
    bench.assert_empty()


def test_services_workers_and_the_broker_are_reported(bench: Bench) -> None:
    bench.ours(b"\x00w", slots=2, credit=3)
    bench.worker(b"plain", b"other\xff")
    for number in range(5):
        bench.ask(b"client", b"%d" % number)
    [(_, address, _), *_] = bench.requests()
    bench.reply_ours(b"\x00w", address)
    bench.take()
    echo, other = report(bench, b"mmi.services")
    assert echo == {
        "name": "echo", "workers": 1, "idle": 0, "queued": 1, "running": 3, "requests": 5,
        "answered": 1, "failed": 0,
    }  # fmt: skip
    assert (other["name"], other["workers"], other["idle"]) == ("other\\xff", 1, 1)
    ours, plain = report(bench, b"mmi.workers")
    assert ours == {
        "id": "0077", "name": "", "service": "echo", "protocol": "0.2+", "held": 3, "slots": 2,
        "credit": 3, "answered": 1,
    }  # fmt: skip
    assert (plain["protocol"], plain["held"], plain["credit"]) == ("0.1", 0, 1)
    whole = report(bench, b"mmi.broker")
    assert (whole["open"], whole["open_bytes"], whole["workers"]) == (4, 4, 2)
    assert whole["counts"]["registered"] == 2


def test_a_client_of_ours_and_who_is_inside_ask_alike(bench: Bench) -> None:
    bench.ask_ours(b"client", ID, service=b"mmi.service", body=b"echo")
    [message] = bench.messages(b"client")
    assert (message.command, message.body) == (Command.FINAL, [b"404"])
    assert meta_of(message.meta or b"").id == ID
    request = bench.broker.submit(
        b"mmi.service", [b"echo"], id="i", fair="me", timeout=1, now=bench.now
    )
    [told] = bench.told()
    assert (told.request, told.command, told.body) == (request, Command.FINAL, [b"404"])
    bench.broker.cancel(request, bench.now)
    assert bench.told() == []
    bench.assert_empty()
