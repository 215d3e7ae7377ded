"""What docs/ list by hand is complete and true: keys, defaults, counters, scripts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from zxmpp.sockets import SocketSettings
from zxmpp.sockets.options import defaults
from zxmpp.streams import StreamSettings

ROOT = Path(__file__).resolve().parents[2]
HOWTO = ROOT / "docs" / "howto"

#: How the code counts what was dropped, refused or failed.
COUNTS = re.compile(
    r"""(?:counts|dropped|not_sent|refused)\[["']([a-z-]+)["']\]"""
    r"""|_drop\((?:[\w.]+, )?"([a-z-]+)"\)"""
    r"""|Verdict\("([a-z-]+)\""""
    r"""|_begin_skipping\("([a-z-]+)"\)"""
    r"""|Refusal\(\s*"[a-z-]+", "([a-z-]+)\""""
    r"""|_end\([\w.()]+, "([a-z-]+)"\)"""
    r"""|give_up_all\("([a-z-]+)"\)"""
)


def rows(page: Path) -> dict[str, str]:
    """The rows of all tables of a page, by each name in code that the first cell has."""
    found = {}
    for line in page.read_text().splitlines():
        if line.startswith("| "):
            for name in re.findall(r"`([^`]+)`", line.split(" | ")[0]):
                found[name] = line
    return found


def ours(settings: type[msgspec.Struct]) -> list[msgspec.structs.FieldInfo]:
    return [f for f in msgspec.structs.fields(settings) if f.name not in ("options", "secrets")]


@pytest.mark.parametrize(
    ("page", "settings"), [("streams.md", StreamSettings), ("sockets.md", SocketSettings)]
)
def test_every_key_is_listed_with_its_default(page: str, settings: Any) -> None:
    table = rows(HOWTO / page)
    for field in ours(settings):
        row = table[field.encode_name]
        if isinstance(field.default, int | float) and not isinstance(field.default, bool):
            # port is 0 for "the usual one", which the page names
            assert field.name == "port" or f"| {field.default:.12g} |" in row, row


def test_the_safe_defaults_are_listed() -> None:
    table = (HOWTO / "sockets.md").read_text()
    for kind in (zmq.PULL, zmq.ROUTER, zmq.DEALER):
        for option in defaults(kind, True, 1):
            assert option in table, option


def test_every_counter_is_explained() -> None:
    page = ROOT / "docs" / "reference" / "metrics.md"
    table = " ".join(rows(page))
    text = page.read_text()
    counted = {
        name
        for file in (ROOT / "zxmpp").rglob("*.py")
        for match in COUNTS.finditer(file.read_text())
        for name in match.groups()
        if name
    }
    assert len(counted) > 30, "the pattern finds the counters no more"
    missing = {name for name in counted if name not in table and f"`{name}`" not in text}
    assert not missing


def test_the_tutorial_shows_the_scripts_of_the_example() -> None:
    text = (ROOT / "docs" / "tutorial.md").read_text()
    for script in ("shout.py", "worker.py", "alert.py"):
        assert (ROOT / "examples" / "hello" / script).read_text() in text, script
