"""What waits to be sent: bounded, in order for each peer, one peer not holding up another."""

from __future__ import annotations

from zxmpp.sockets.buffer import SendBuffer


def test_order_is_kept_when_there_is_no_room_for_a_while() -> None:
    buffer, sent, room = SendBuffer(10, by_peer=False), [], 2
    for number in range(5):
        buffer.put([b"%d" % number])

    def send(message: list[bytes]) -> bool:
        if len(sent) >= room:
            return False
        sent.append(message[0])
        return True

    assert buffer.flush(send, 100) == 2
    assert buffer.holds([b"new"])
    room = 10
    assert buffer.flush(send, 100) == 3
    assert sent == [b"0", b"1", b"2", b"3", b"4"]
    assert len(buffer) == 0
    assert not buffer.holds([b"new"])


def test_a_full_peer_does_not_hold_up_another() -> None:
    buffer, sent = SendBuffer(10, by_peer=True), []
    for number in range(3):
        buffer.put([b"slow", b"%d" % number])
        buffer.put([b"quick", b"%d" % number])

    def send(message: list[bytes]) -> bool:
        if message[0] == b"slow":
            return False
        sent.append(message)
        return True

    assert buffer.flush(send, 100) == 3
    assert sent == [[b"quick", b"%d" % n] for n in range(3)]
    assert buffer.holds([b"slow", b""])
    assert not buffer.holds([b"quick", b""])


def test_a_full_peer_leaves_room_for_others() -> None:
    buffer = SendBuffer(10, by_peer=True)
    while buffer.has_room([b"slow", b""]):
        buffer.put([b"slow", b""])
    assert len(buffer) == 5
    assert buffer.has_room([b"other", b""])


def test_what_waited_for_a_peer_that_is_gone_is_dropped_and_counted() -> None:
    buffer, sent = SendBuffer(10, by_peer=True), []
    for _ in range(3):
        buffer.put([b"gone", b""])
    buffer.put([b"here", b""])

    def send(message: list[bytes]) -> bool:
        if message[0] == b"gone":
            assert buffer.drop_peer(b"gone") == 3
        else:
            sent.append(message)
        return True

    assert buffer.flush(send, 100) == 4
    assert sent == [[b"here", b""]]
    assert len(buffer) == 0


def test_many_full_peers_are_tried_in_turns() -> None:
    buffer, tried = SendBuffer(1000, by_peer=True), set()
    for number in range(200):
        buffer.put([b"%d" % number, b""])
    for _ in range(4):
        assert buffer.flush(lambda message: bool(tried.add(message[0])), 100) == 0
        assert len(tried) <= 200
    assert len(tried) == 200


def test_a_flush_sends_no_more_than_it_may() -> None:
    buffer, sent = SendBuffer(10, by_peer=True), []
    for number in range(3):
        buffer.put([b"a", b"%d" % number])
        buffer.put([b"b", b"%d" % number])
    while buffer.flush(lambda message: not sent.append(message), 2):
        assert len(sent) % 2 == 0
    assert sorted(sent[:4]) == [[b"a", b"0"], [b"a", b"1"], [b"b", b"0"], [b"b", b"1"]]
    assert len(sent) == 6
