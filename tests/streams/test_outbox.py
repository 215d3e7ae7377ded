"""Nothing is lost unnamed, nothing goes out twice, order is kept, all is bounded."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from zxmpp.streams.outbox import Outbox


class Item:
    def __init__(self, number: int, to: str = "") -> None:
        self.number = number
        self.to = to


class Ends:
    """Takes what is given up."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, str]] = []

    def __call__(self, item: Item, reason: str) -> None:
        self.seen.append((item.number, reason))


def make(
    limit: int = 10, age: float = 100, window: int = 5, burst: int = 0
) -> tuple[Outbox[Item], Ends]:
    ends = Ends()
    return Outbox(limit, age, window, ends, burst), ends


def numbers(items: list[Item]) -> list[int]:
    return [item.number for item in items]


def test_what_is_sent_offline_waits_in_order() -> None:
    box, ends = make()
    assert [box.put(Item(n), now=0) for n in range(3)] == [False] * 3
    assert box.take(1) == []
    box.open = True
    assert numbers(box.take(1)) == [0, 1, 2]
    assert (box.waiting, box.unconfirmed, ends.seen) == (0, 3, [])


def test_a_full_outbox_gives_up_the_oldest() -> None:
    box, ends = make(limit=2)
    for n in range(4):
        box.put(Item(n), now=n)
    assert ends.seen == [(0, "outbox-full"), (1, "outbox-full")]
    assert box.given_up == {"outbox-full": 2}
    box.open = True
    assert numbers(box.take(5)) == [2, 3]


def test_too_old() -> None:
    box, ends = make(age=10)
    box.put(Item(0), now=0)
    box.put(Item(1), now=5)
    assert box.oldest == 0
    box.expire(9.9)
    assert ends.seen == []
    box.expire(10)
    assert ends.seen == [(0, "too-old")]
    assert box.oldest == 5
    box.open = True
    assert box.take(15) == []
    assert ends.seen == [(0, "too-old"), (1, "too-old")]


def test_the_window_bounds_what_is_unconfirmed() -> None:
    box, _ = make(window=2)
    box.open = True
    assert [box.put(Item(n), now=0) for n in range(4)] == [True, True, False, False]
    mark = 1
    box.confirm(mark)
    assert numbers(box.take(0)) == [2]
    # Behind what waits, even if there was room: order.
    box.confirm(3)
    assert numbers(box.take(0)) == [3]
    assert box.confirmed == 3


def test_lost_connection() -> None:
    box, ends = make(window=5)
    box.open = True
    items = [Item(n) for n in range(4)]
    for item in items:
        assert box.put(item, now=0)
    box.confirm(1)
    box.put(Item(9), now=1)
    box.lost(unwritten=items[2:])
    assert ends.seen == [(1, "in-doubt"), (9, "in-doubt")]
    assert not box.put(Item(5), now=2)
    box.open = True
    assert numbers(box.take(3)) == [2, 3, 5]
    # The old connection's count means nothing on the new one.
    box.confirm(2)
    assert box.unconfirmed == 1


def test_held_destinations_wait_and_others_pass() -> None:
    box, _ = make()
    box.open = True
    box.hold("room")
    assert not box.put(Item(0, "room"), 0, "room")
    assert box.put(Item(1), 0, "alice")
    assert not box.put(Item(2, "room"), 0, "room")
    assert box.take(0) == []
    box.release("room")
    assert numbers(box.take(0)) == [0, 2]


def test_drop_names_all() -> None:
    box, ends = make()
    box.open = True
    box.put(Item(0), 0)
    box.hold("room")
    box.put(Item(1), 0, "room")
    box.drop("stopped")
    assert ends.seen == [(0, "stopped"), (1, "stopped")]
    assert (box.waiting, box.unconfirmed) == (0, 0)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(["alice", "room", ""])),
        st.tuples(st.sampled_from(["take", "confirm", "lose", "open", "hold", "release"]),
                  st.integers(0, 9)),
        st.tuples(st.just("wait"), st.integers(1, 60)),
    ),
    max_size=60,
)  # fmt: skip


@given(STEPS, st.sampled_from([0, 7]))
def test_each_item_ends_once_whatever_happens(
    steps: list[tuple[str, int | str]], burst: int
) -> None:
    box, ends = make(limit=4, age=100, window=3, burst=burst)
    now = 0.0
    put: list[Item] = []
    written: list[Item] = []
    pending: list[Item] = []  # handed over, in slixmpp's queue
    for what, value in steps:
        if what == "put":
            item = Item(len(put), str(value))
            put.append(item)
            if box.put(item, now, str(value)):
                pending.append(item)
        elif what == "take":
            pending += box.take(now)
        elif what == "confirm":
            written += pending
            pending = []
            box.confirm(box.sent)
        elif what == "lose":
            # The pump had written some of them.
            some = int(value) % (len(pending) + 1)
            written += pending[:some]
            box.lost(pending[some:])
            pending = []
        elif what == "open":
            box.open = True
        elif what == "hold":
            box.hold("room")
        elif what == "release":
            box.release("room")
        else:
            now += float(value)
            box.expire(now)
        assert box.waiting <= max(4, burst)
        assert box.unconfirmed <= 3
    box.lost(pending)
    box.drop("over")
    ended = Counter(number for number, _ in ends.seen)
    assert max(ended.values(), default=1) == 1
    assert max(Counter(item.number for item in written).values(), default=1) == 1
    doubtful = {number for number, reason in ends.seen if reason == "in-doubt"}
    arrived = {item.number for item in written}
    assert box.confirmed + len(ended) == len(put)
    assert not arrived & (set(ended) - doubtful)
    for to in ("alice", "room", ""):
        order = [item.number for item in written if item.to == to]
        assert order == sorted(order)


def test_what_goes_back_goes_before_what_waited() -> None:
    box, _ = make(window=2)
    box.open = True
    items = [Item(n) for n in range(4)]
    assert [box.put(item, 0, "alice") for item in items] == [True, True, False, False]
    box.lost(unwritten=items[:2])
    box.open = True
    assert numbers(box.take(0)) == [0, 1]


def test_what_goes_back_does_not_break_the_limit() -> None:
    box, ends = make(limit=2, window=2)
    box.open = True
    items = [Item(n) for n in range(4)]
    for item in items:
        box.put(item, 0)
    box.lost(unwritten=items[:2])
    assert box.waiting == 2
    assert ends.seen == [(0, "outbox-full"), (1, "outbox-full")]


def test_nothing_overtakes_what_waits_for_the_same_destination() -> None:
    box, _ = make(window=1)
    box.open = True
    assert box.put(Item(0), 0, "alice")
    assert not box.put(Item(1), 0, "alice")
    # There is room again, but nobody took what waits yet.
    box.confirm(1)
    assert not box.put(Item(2), 0, "alice")
    assert numbers(box.take(0)) == [1]
    box.confirm(2)
    assert numbers(box.take(0)) == [2]


def test_a_burst_and_what_waits_for_a_room_do_not_cost_each_other() -> None:
    box, ends = make(limit=2, window=1, burst=5)
    box.open = True
    box.hold("room")
    for n in range(4):
        box.put(Item(n), now=0, destination="alice")
    for n in range(4, 7):
        box.put(Item(n), now=0, destination="room")
    assert ends.seen == [(4, "outbox-full")]
    box.put(Item(7), now=0, destination="alice")
    assert ends.seen == [(4, "outbox-full"), (1, "outbox-full")]
    box.lost()
    assert box.waiting == 2
    assert box.given_up == {"outbox-full": 5, "in-doubt": 1}


def test_what_was_not_written_waits_first_where_the_session_goes_on() -> None:
    box, ends = make(window=3)
    box.open = True
    items = [Item(n) for n in range(4)]
    for item in items:
        box.put(item, now=0)
    other = Item(4)
    box.take_back([items[2], other, Item(5), items[1]], lambda item: item is other, now=1)
    assert (box.unconfirmed, box.open) == (1, False)
    box.open = True
    box.confirm(box.sent)
    assert numbers(box.take(1)) == [2, 4, 1]
    box.confirm(box.sent)
    assert numbers(box.take(1)) == [3]
    box.put(Item(6), now=1)
    assert box.discard(lambda item: item.number == 6) == 0
    box.open = False
    box.put(Item(7), now=1)
    assert box.discard(lambda item: item.number == 7) == 1
    assert ends.seen == []
