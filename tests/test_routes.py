"""The index finds what a scan of all items would find, in the same order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zxmpp.routes import MAX_PLANS, Index

KEYS = st.sampled_from("abcd")
PREFIXES = st.sampled_from([b"", b"d", b"di", b"disk", b"net"])
HEADS = st.sampled_from([b"", b"d", b"disk.full", b"di", b"net", b"other"])


@given(
    st.lists(st.tuples(st.sets(KEYS, min_size=1), PREFIXES), max_size=12),
    st.sets(st.integers(0, 11)),
    st.lists(st.tuples(st.tuples(KEYS, KEYS), HEADS), max_size=6),
)
def test_same_as_a_scan(
    added: list[tuple[set[str], bytes]],
    removed: set[int],
    asked: list[tuple[tuple[str, str], bytes]],
) -> None:
    index: Index[int] = Index()
    entries = [index.add(number, keys, prefix) for number, (keys, prefix) in enumerate(added)]
    for keys, head in asked:
        index.find(keys, head)  # what was found before a change must not stick
    for number in removed:
        if number < len(entries):
            entries[number].close()
            entries[number].close()
    for keys, head in asked:
        scan = [
            number
            for number, (wanted, prefix) in enumerate(added)
            if number not in removed and wanted & set(keys) and head.startswith(prefix)
        ]
        assert list(index.find(keys, head)) == scan
    assert len(index) == len(added) - len({n for n in removed if n < len(added)})


def test_a_change_does_not_alter_what_was_found() -> None:
    index: Index[str] = Index()
    first = index.add("first", "a")
    found = index.find(("a",))
    first.close()
    index.add("second", "a")
    assert list(found) == ["first"]
    assert list(index.find(("a",))) == ["second"]


def test_invented_keys_do_not_grow_it() -> None:
    index: Index[str] = Index()
    index.add("item", "a")
    for number in range(3 * MAX_PLANS):
        assert list(index.find(("a", number))) == ["item"]
    assert len(index._plans) <= MAX_PLANS


def test_a_change_forgets_only_the_plans_that_mention_its_keys() -> None:
    index: Index[str] = Index()
    index.add("first", "a")
    kept = index.plan(("a", "b"))
    entry = index.add("second", "c")
    assert index.plan(("a", "b")) is kept
    entry.close()
    assert index.plan(("a", "b")) is kept
    index.add("third", "b")
    assert list(index.find(("a", "b"))) == ["first", "third"]


def test_keys_that_come_and_go_leave_nothing_behind() -> None:
    index: Index[int] = Index()
    index.add(0, "a")
    for number in range(100):
        entry = index.add(number, [number])
        assert list(index.find(("a", number))) == ([0, number] if number else [0, 0])
        entry.close()
    assert set(index.keys()) == {"a"}
    assert not index._plans
    assert not index._mentions


def test_a_bucket_is_what_stands_under_one_key() -> None:
    index: Index[str] = Index()
    entry = index.add("one", [("id", "1"), "a"])
    assert [found.item for found in index.bucket(("id", "1")).values()] == ["one"]
    entry.close()
    assert not index.bucket(("id", "1"))
