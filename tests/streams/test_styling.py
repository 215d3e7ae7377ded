"""Texts as mark-up, and texts that are none."""

from __future__ import annotations

import pytest

from zxmpp.streams.styling import Plain, block, plain, quote
from zxmpp.streams.writing import clean_text


def test_a_block_keeps_what_is_in_it() -> None:
    assert block("a | b\n1 | 2\n") == "```\na | b\n1 | 2\n```"
    hostile = block("before\n```\n*after*\n```  ")
    lines = hostile.split("\n")
    assert [line for line in lines if line.rstrip() == "```"] == [lines[0], lines[-1]]
    assert "*after*" in lines


def test_a_line_that_only_begins_like_a_fence_is_left_alone() -> None:
    assert block("```python") == "```\n```python\n```"


def test_plain_is_a_text() -> None:
    text = plain("*not bold*")
    assert text == "*not bold*"
    assert isinstance(text, Plain)


def test_a_quotation() -> None:
    assert quote("one\ntwo") == "> one\n> two"


@pytest.mark.parametrize(
    "text", ["a\r```\rb", "a\r\n```\r\nb", "a\n\x01```\nb", "a\n``\x7f`\nb", "a\n```\x00\nb"]
)
def test_what_is_taken_out_or_changed_on_the_way_does_not_end_a_block(text: str) -> None:
    lines = clean_text(block(text)).split("\n")
    assert [line for line in lines if line.rstrip() == "```"] == [lines[0], lines[-1]]


@pytest.mark.parametrize("text", ["one\rtwo", "one\r\ntwo", "o\x00ne\ntwo"])
def test_a_quotation_has_all_lines(text: str) -> None:
    assert quote(text) == "> one\n> two"
