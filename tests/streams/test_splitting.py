"""Long texts in parts: what is in which part, that nothing is lost, that each part fits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slixmpp.xmlstream.tostring import escape

from zxmpp.streams.splitting import MIN_ROOM, cost, split

TEXTS = st.text(st.sampled_from("ab <&>'\"\n\té€😀"), max_size=3000)


@given(TEXTS)
def test_the_cost_is_what_slixmpp_writes(text: str) -> None:
    assert cost(text) == len(escape(text).encode())  # type: ignore[operator]


def test_a_short_text_stays_whole() -> None:
    assert split("hello\nworld", 1000, 10) == (["hello\nworld"], 0)
    assert split("", 1000, 10) == ([""], 0)


def test_a_part_ends_at_the_end_of_a_line() -> None:
    lines = [f"line {number:03}" for number in range(200)]
    parts, left = split("\n".join(lines), 500, 10)
    assert left == 0
    assert "\n".join(parts).split("\n") == lines
    assert all(cost(part) <= 500 for part in parts)
    assert len(parts) == 4


def test_a_long_line_is_cut_at_a_space_else_anywhere() -> None:
    words = " ".join(["word"] * 200)
    parts, _ = split(words, 500, 10)
    assert " ".join(parts) == words
    assert not any(part.startswith(" ") or part.endswith(" ") for part in parts)
    one = "é" * 1000
    parts, _ = split(one, 501, 10)
    assert "".join(parts) == one
    assert max(map(cost, parts)) <= 501


def test_escaped_characters_count_as_what_they_become() -> None:
    parts, _ = split("'" * 600, 600, 10)
    assert "".join(parts) == "'" * 600
    assert all(len(part) <= 100 for part in parts)


@given(TEXTS, st.integers(MIN_ROOM + 8, 1000))
def test_nothing_is_lost_and_every_part_fits(text: str, limit: int) -> None:
    parts, left = split(text, limit, 1000)
    assert left == 0
    assert all(cost(part) <= limit for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_a_block_is_closed_and_opened_again() -> None:
    code = "\n".join(f"x{number} = {number}" for number in range(100))
    text = f"Look:\n```python\n{code}\n```\nThat was it."
    parts, left = split(text, 400, 20)
    assert left == 0
    assert len(parts) == 3
    for part in parts:
        assert cost(part) <= 400
        fences = [line for line in part.split("\n") if line.startswith("```")]
        assert len(fences) % 2 == 0, part
        if part is not parts[0]:
            assert fences[0] == "```python"
    inner = "\n".join(parts).replace("\n```\n```python", "")
    assert inner == text


def test_a_block_begins_in_the_part_that_has_its_first_line() -> None:
    text = f"{'a' * 290}\n```\n{'b' * 200}\n```"
    parts, _ = split(text, 300, 10)
    assert parts == ["a" * 290, f"```\n{'b' * 200}\n```"]


def test_a_block_that_ends_at_the_edge_is_not_opened_for_nothing() -> None:
    for length in (280, 288):
        text = f"```\n{'b' * length}\n```\n{'a' * 200}"
        parts, left = split(text, 296, 10)
        assert (parts, left) == ([f"```\n{'b' * length}\n```", "a" * 200], 0)


def test_the_number_of_parts_is_bounded_and_the_last_says_so() -> None:
    text = "\n".join(f"line {number}" for number in range(1000))
    parts, left = split(text, 500, 3)
    assert len(parts) == 3
    assert all(cost(part) <= 500 for part in parts)
    assert parts[-1].endswith(f"\n[{left} more characters are left out]")
    shown = "\n".join(parts).partition("\n[")[0]
    assert len(shown) + 1 + left == len(text)


@pytest.mark.parametrize("text", ["\n" * 1000, " " * 1000])
def test_white_space_alone_is_no_part(text: str) -> None:
    assert split(text, 300, 10) == ([], 0)
