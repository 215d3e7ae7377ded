"""Whatever a peer sends: counted under a name, the peer told where the RFCs have it so, and nobody
else disturbed."""

from __future__ import annotations

import pytest

from tests.mdp.bench import Bench
from zxmpp.mdp.wire import V01, V02, Dialect, Tag02

LONG = b"s" * 256

#: Frames as the peer writes them, the reason that is counted, and who is told to disconnect.
MALFORMED: list[tuple[list[bytes], str, Dialect | None]] = [
    ([], "empty", None),
    ([b""], "empty", None),
    ([b"", b""], "empty", None),
    ([b"", b"", b""], "no-header", None),
    ([b"x"], "no-header", None),
    ([b"", b"x"], "no-header", None),
    ([b"x" * 1_000_000, b"y"], "no-header", None),
    ([b"", b"MDPC01"], "too-short", None),
    ([b"", b"MDPC01", b"echo"], "too-short", None),
    ([b"MDPC01", b"echo", b"x"], "no-empty-frame", None),
    ([b"", b"MDPC01", b"", b"x"], "bad-service-name", None),
    ([b"", b"MDPC01", LONG, b"x"], "bad-service-name", None),
    ([b"MDPC02"], "too-short", None),
    ([b"MDPC02", b"\x01"], "too-short", None),
    ([b"MDPC02", b"\x01", b"echo"], "too-short", None),
    ([b"MDPC02", b"\x02", b"echo", b"x"], "unknown-command", None),
    ([b"MDPC02", b"\x03", b"echo", b"x"], "unknown-command", None),
    ([b"MDPC02", b"", b"echo", b"x"], "unknown-command", None),
    ([b"MDPC02", b"\x01", b"", b"x"], "bad-service-name", None),
    ([b"MDPC02", b"\x01", LONG, b"x"], "bad-service-name", None),
    ([b"", b"MDPC02", b"echo"], "too-short", None),
    ([b"MDPC02", b"\x81", b"echo", b"{}"], "too-short", None),
    ([b"MDPC02", b"\x81", b"echo", b"{", b"x"], "bad-meta", None),
    ([b"MDPC02", b"\x81", b"echo", b"[]", b"x"], "bad-meta", None),
    ([b"MDPC02", b"\x81", b"echo", b'{"id":7}', b"x"], "bad-meta", None),
    ([b"MDPC02", b"\x81", b"echo", b'{"id":"\xff"}', b"x"], "bad-meta", None),
    ([b"MDPC02", b"\x81", b"echo", b'{"id":"\\ud800"}', b"x"], "bad-meta", None),
    ([b"MDPC02", b"\x81", b"echo", b'{"timeout":1e999}', b"x"], "bad-meta", None),
    ([b"MDPC02", b"\x81", b"echo", b'{"a":' * 800, b"x"], "bad-meta", None),
    ([b"MDPC02", b"\x81", b"echo", b" " * 4097, b"x"], "meta-too-big", None),
    ([b"MDPC02", b"\x87", b"echo"], "too-short", None),
    ([b"MDPC02", b"\x87", b"echo", b"?"], "bad-meta", None),
    ([b"MDPC03", b"\x01", b"echo", b"x"], "unknown-version", None),
    ([b"", b"MDPC0X", b"echo", b"x"], "unknown-version", None),
    ([b"MDPW03", b"\x01", b"echo"], "unknown-version", None),
    ([b"", b"MDPW0X", b"\x01", b"echo"], "unknown-version", None),
    ([b"MDPW01", b"\x01", b"echo"], "no-empty-frame", V01),
    ([b"", b"MDPW01"], "too-short", V01),
    ([b"", b"MDPW01", b"\x01"], "too-short", V01),
    ([b"", b"MDPW01", b"\x03"], "too-short", V01),
    ([b"", b"MDPW01", b"\x03", b"a"], "too-short", V01),
    ([b"", b"MDPW01", b"\x03", b"a", b""], "too-short", V01),
    ([b"", b"MDPW01", b"\x01", b""], "bad-service-name", V01),
    ([b"", b"MDPW01", b"\x01", LONG], "bad-service-name", V01),
    ([b"", b"MDPW01", b"\x02", b"a", b"", b"x"], "unknown-command", V01),
    ([b"", b"MDPW01", b"\x06"], "unknown-command", V01),
    ([b"", b"MDPW01", b"\x81", b"echo", b"{}"], "unknown-command", V01),
    ([b"", b"MDPW01", b""], "unknown-command", V01),
    ([b"MDPW02"], "too-short", V02),
    ([b"MDPW02", b"\x01"], "too-short", V02),
    ([b"MDPW02", b"\x07"], "unknown-command", V02),
    ([b"MDPW02", b"\x02", b"a", b"", b"x"], "unknown-command", V02),
    ([b"MDPW02", b"\x01", b""], "bad-service-name", V02),
    ([b"MDPW02", b"\x81", b"echo"], "too-short", V02),
    ([b"MDPW02", b"\x81", b"", b"{}"], "bad-service-name", V02),
    ([b"MDPW02", b"\x81", b"echo", b""], "bad-meta", V02),
    ([b"MDPW02", b"\x81", b"echo", b"{"], "bad-meta", V02),
    ([b"MDPW02", b"\x81", b"echo", b'{"name":"\xff"}'], "bad-meta", V02),
    ([b"MDPW02", b"\x81", b"echo", b'{"slots":"many"}'], "bad-meta", V02),
    ([b"MDPW02", b"\x81", b"echo", b'{"a":' * 800], "bad-meta", V02),
    ([b"MDPW02", b"\x81", b"echo", b'{"a":' * 100_000], "meta-too-big", V02),
    ([b"MDPW02", b"\x84", b"a", b"{}"], "too-short", V02),
    ([b"", b"MDPW02", b"\x06"], "unknown-command", Tag02),
    ([b"", b"MDPW02", b"\x81", b"echo", b"{}"], "unknown-command", Tag02),
]  # fmt: skip


def ids(value: object) -> str | None:
    if isinstance(value, list):
        return "-".join(frame[:12].hex() or "empty" for frame in value) or "nothing"
    return None


@pytest.mark.parametrize(("frames", "reason", "told"), MALFORMED, ids=ids)
def test_malformed_frames_are_counted_and_harm_nobody_else(
    bench: Bench, frames: list[bytes], reason: str, told: Dialect | None
) -> None:
    bench.worker(b"good")
    bench.ask(b"client")
    [(_, address, _)] = bench.requests()
    bench.ask(b"client", b"second")
    bench.send(b"bad", frames)
    assert bench.take() == ([(b"bad", told.disconnect)] if told else [])
    assert bench.counts[reason] == 1
    assert bench.complaints() == [(b"bad", reason)]
    assert set(bench.broker.workers) == {b"good"}
    assert set(bench.broker.requests.services) == {b"echo"}
    bench.reply(b"good", address, b"fine")
    out = bench.take()
    assert out[0][0] in (b"client", b"good")
    assert (b"client", V01.client_final(b"echo", [b"fine"])) in out
    assert bench.broker.requests.open == 1


@pytest.mark.parametrize("dialect", [V01, V02, Tag02], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("frames", [[b"x"], [b"", b"MDPC01"], [b"MDPW03"]], ids=ids)
def test_a_registered_worker_that_sends_garbage_is_a_worker_no_more(
    bench: Bench, dialect: Dialect, frames: list[bytes]
) -> None:
    bench.worker(b"w", dialect=dialect)
    bench.ask(b"client")
    bench.take()
    bench.send(b"w", frames)
    assert bench.take() == [(b"w", dialect.disconnect)]
    assert bench.counts["worker-invalid"] == 1
    bench.worker(b"x")
    assert [(to, body) for to, _, body in bench.requests()] == [(b"x", b"x")]


def test_ten_thousand_frames_are_a_body_like_any_other(bench: Bench) -> None:
    bench.worker(b"w")
    bench.send(b"client", [b"", b"MDPC01", b"echo", *[b""] * 10_000])
    [(_, frames)] = bench.take()
    assert len(frames) == 10_005


@pytest.mark.parametrize(
    ("first", "second"),
    [(V01, V01), (V02, V02), (Tag02, Tag02), (V01, V02), (V02, Tag02), (Tag02, V01)],
)  # fmt: skip
def test_ready_twice_ends_a_registration(bench: Bench, first: Dialect, second: Dialect) -> None:
    bench.worker(b"w", dialect=first)
    bench.worker(b"w", dialect=second)
    assert bench.take() == [(b"w", second.disconnect)]
    assert bench.complaints() == [(b"w", "unexpected-ready")]
    assert not bench.broker.workers


@pytest.mark.parametrize(
    ("first", "second"),
    [(V01, V02), (V02, V01), (V02, Tag02), (Tag02, V02), (Tag02, V01), (V01, Tag02)],
)  # fmt: skip
def test_a_registration_is_of_one_dialect(bench: Bench, first: Dialect, second: Dialect) -> None:
    bench.worker(b"w", dialect=first)
    bench.send(b"w", second.heartbeat)
    assert bench.take() == [(b"w", second.disconnect)]
    assert not bench.broker.workers


@pytest.mark.parametrize(
    "frames",
    [[b"MDPW02", b"\x89", b"", b'{"credit":5}'], [b"MDPW02", b"\x88", b"address", b"{}"]],
    ids=["credit", "return"],
)
def test_the_extension_is_for_workers_that_registered_with_it(
    bench: Bench, frames: list[bytes]
) -> None:
    bench.worker(b"w", dialect=V02)
    bench.send(b"w", frames)
    assert bench.take() == [(b"w", V02.disconnect)]
    assert not bench.broker.workers


@pytest.mark.parametrize("meta", [b"{}", b'{"credit":-1}', b'{"credit":"x"}', b"", b" " * 5000])
def test_a_bad_credit_makes_a_worker_invalid(bench: Bench, meta: bytes) -> None:
    bench.ours(b"w")
    bench.send(b"w", [b"MDPW02", b"\x89", b"", meta])
    assert bench.take() == [(b"w", V02.disconnect)]
    assert not bench.broker.workers


def test_an_answer_with_bad_meta_data_is_none_and_the_request_goes_on(bench: Bench) -> None:
    bench.ours(b"w")
    bench.ask(b"client")
    [(_, address, _)] = bench.requests()
    bench.send(b"w", [b"MDPW02", b"\x84", address, b"{", b"x"])
    assert bench.take() == [(b"w", V02.disconnect)]
    bench.worker(b"x")
    assert [to for to, _, _ in bench.requests()] == [b"x"]


@pytest.mark.parametrize("dialect", [V01, V02, Tag02], ids=lambda dialect: dialect.name)
def test_what_a_stranger_says_is_answered_with_disconnect(bench: Bench, dialect: Dialect) -> None:
    # After a restart of the broker that makes a worker come back at once.
    bench.send(b"w", dialect.heartbeat)
    assert bench.take() == [(b"w", dialect.disconnect)]
    assert bench.complaints() == [(b"w", "unexpected-heartbeat")]


@pytest.mark.parametrize("dialect", [V01, Tag02], ids=lambda dialect: dialect.name)
def test_a_reply_without_its_empty_frame_is_read(bench: Bench, dialect: Dialect) -> None:
    bench.worker(b"php", dialect=dialect)
    bench.ask(b"client")
    [(_, address, _)] = bench.requests()
    bench.send(b"php", [b"", dialect.worker_header, b"\x03", address, b"hello", b"you"])
    assert bench.take() == [(b"client", V01.client_final(b"echo", [b"hello", b"you"]))]
    assert bench.complaints() == []
