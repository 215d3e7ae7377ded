"""Texts as mark-up, and texts that are none."""

from __future__ import annotations

from zxmpp.streams.styling import Plain, block, plain, quote


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
