"""What an operator reads when the configuration is wrong."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from zxmpp.commands import RoomMember
from zxmpp.config import load, parse
from zxmpp.config.lines import Lines
from zxmpp.errors import ConfigError

GOOD = """
[app]
log_level = "WARNING"

[roles]
admin = ["Alice@localhost"]

[streams.bot]
kind = "component"
jid = "bot.localhost"
host = "127.0.0.1"
port = 5347

[sockets.alerts]
type = "PULL"
bind = ["tcp://127.0.0.1:5556"]
rcvhwm = 500

[plugins.echo]

[plugins.mine]
use = "mine:Mine"
"""


def test_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "bot.toml"
    path.write_text(GOOD)
    settings = load(path)
    assert settings.app.log_level == "WARNING"
    assert settings.roles == {"admin": ["alice@localhost"]}
    assert settings.streams["bot"].port == 5347
    assert list(settings.sockets["alerts"].bind) == ["tcp://127.0.0.1:5556"]
    assert settings.plugins["echo"].use == "echo"
    assert settings.plugins["mine"].use == "mine:Mine"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[apps]", r"has no table 'apps'; did you mean 'app'"),
        ("[app", "not TOML: Expected"),
        ("app = 3", r"\[app\] is a table"),
        ("[app]\nlog_level = 'LOUD'", r"\[app\]: .*DEBUG, INFO"),
        ("[pipeline]\ntimeout = 0", r"\[pipeline\]: timeout must be above 0"),
        ("[pipeline]\nlane_limit = 'x'", r"\[pipeline\] lane_limit: Expected `int`, got `str`"),
        ("[guards]\nrate = -1", "rate is messages a second"),
        ("[commands]\nprefix = ' '", "prefix is one or more characters"),
        ("[commands]\nprefixx = '!'", r"\[commands\] has no key 'prefixx'; did you mean 'prefix'"),
        ("[roles]\nadmin = ['a@b/c']", r"\[roles\] admin: 'a@b/c' is not a bare JID"),
        ("[roles]\nadmin = ['*.b']", r"\[roles\] admin: '\*.b': there are no patterns"),
        ("[roles]\nadmin = ['@all']", r"\[roles\] admin: '@all' .* @local, @broker"),
        ("[roles]\nadmin = [3]", r"\[roles\] admin: Expected `str`, got `int`"),
        (
            "[roles]\nadmin = [{room = 'a@b', afiliation = 'owner'}]",
            r"\[roles\] admin has no key 'afiliation'; did you mean 'affiliation'",
        ),
        (
            "[roles]\nadmin = [{room = 'a@b', affiliation = 'none'}]",
            r"\[roles\] admin: affiliation is of owner, admin, member, not 'none'",
        ),
        (
            "[roles]\nadmin = [{room = 'a@b', affiliation = 'owner', occupant_id = 'x'}]",
            r"\[roles\] admin: affiliation and occupant_id exclude",
        ),
        ("[roles]\nadmin = [{room = 'a@b'}]", r"\[roles\] admin: a room needs affiliation or occ"),
        ("[roles]\nadmin = [{affiliation = 'owner'}]", r"\[roles\] admin: room is missing"),
        (
            "[roles]\nadmin = [{room = 'a@b/c', affiliation = 'owner'}]",
            r"\[roles\] admin: room is a bare JID .*, not 'a@b/c'",
        ),
        ("[roles]\nadmin = 'a@b'", r"\[roles\] admin: Expected `array`"),
        ("[streams.bot]\nkind = 'component'\njidd = 'x'", r"\[streams.bot\] has no key 'jidd'"),
        ("[streams.bot]\nkind = 'client'", r"\[streams.bot\]: .*jid"),
        ("[streams.bot]\nkind = 'server'\njid = 'a@b'", r"\[streams.bot\] kind: "),
        ("[streams]\nbot = 3", r"write \[streams.bot\]"),
        ("[sockets.a]\ntype = 'PUL'\nbind = 'tcp://127.0.0.1:*'", r"sockets.a.*PULL"),
        ("[sockets.a]\ntype = 'PULL'\nrcvhmw = 1", r"sockets.a.*rcvhmw.*rcvhwm"),
        ("[plugins.x]\nuse = 'a b'", r"\[plugins.x\] use"),
    ],
)
def test_what_it_says(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=f"(?is){says}"):
        parse(text)


def test_members_of_all_kinds() -> None:
    settings = parse("""
        [roles]
        admin = [
            "Alice@Example.ORG", "EXAMPLE.net", "@local",
            {room = "Ops@rooms.example.org", affiliation = ["owner", "admin"]},
            {room = "ops@rooms.example.org", occupant_id = "x"},
        ]
        nobody = []
    """)
    room = "ops@rooms.example.org"
    assert settings.roles == {
        "admin": [
            "alice@example.org", "example.net", "@local", RoomMember(room, ("owner", "admin")),
            RoomMember(room, occupant_id="x"),
        ],
        "nobody": [],
    }  # fmt: skip


def test_problems_of_roles_stand_at_their_entries() -> None:
    text = """\
[roles]
admin = [
  "alice@localhost/x",
  {room = "ops@rooms.localhost", affiliation = "boss"},
  "bob@localhost",
  {room = "ops", occupant_id = "x"},
]
"""
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert [problem.line for problem in caught.value.problems] == [3, 4, 6]


def test_a_missing_file_and_bad_bytes_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing.toml: .*can't be read: No such file"):
        load(tmp_path / "missing.toml")
    path = tmp_path / "bad.toml"
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"bad.toml: not UTF-8 at byte 0"):
        load(path)
    path.write_text("[appp]")
    with pytest.raises(ConfigError, match=r"bad.toml:1: .*'appp'"):
        load(path)


MANY = """\
[app]
log_level = "LOUD"
drain_seconds = 0

[roles]
admin = [
  "alice@localhost",
  "bob@localhost/x",
]

[streams.bot]
kind = "component"
jid = "bad@bot.localhost"
port = "x"

[streams.two]
"ping-interval" = 3

[sockets.a]
type = "PUL"
bind = ["tcp://127.0.0.1"]
rcvhmw = 3
"""


def test_every_problem_has_its_line() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(MANY)
    assert [(p.line, p.where) for p in caught.value.problems] == [
        (2, "[app]"),
        (3, "[app]"),
        (8, "[roles] admin"),
        (13, "[streams.bot]"),
        (14, "[streams.bot] port"),
        (16, "[streams.two]"),
        (17, "[streams.two]"),
        (20, "[sockets.a] type"),
        (21, "[sockets.a] bind"),
        (22, "[sockets.a] rcvhmw"),
    ]
    assert str(caught.value).count("\n") == len(caught.value.problems) - 1
    assert "line 22: [sockets.a] rcvhmw" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [("[app", 1), ("\n\n[app]\nx = ", 4), ("[app]\n[app]", 2), ("a = [\n\n1,", 3)],
)
def test_a_wrong_syntax_has_its_line(text: str, line: int) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert [p.line for p in caught.value.problems] == [line]


TANGLED = '''\
# [not.a.table]
top = """
[nor.this]
x = \\"""quoted\\""" ""\\
"""
"a.b" . 'c d' = 1   # = 2
list = [ # [
  1, "]",
  { deep = [ '#', 3 ], other.one = 2 },
]
[ t . "u v" ]
k = \'\'\'
'' it''s \'\'\'
[[t.rows]]
a = 1
[[t.rows]]
[t.rows.in]
b = 2
[[t.rows.more]]
c = 1979-05-27T07:32:00Z
'''


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_lines_of_what_toml_can_be(ends: str) -> None:
    text = TANGLED.replace("\n", ends)
    lines = Lines(text)

    def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
        yield path
        items = value.items() if isinstance(value, dict) else ()
        for key, each in enumerate(value) if isinstance(value, list) else items:
            yield from leaves(each, (*path, key))

    missing = [path for path in leaves(tomllib.loads(text)) if path and path not in lines]
    assert not missing
    expected = {
        ("top",): 2, ("a.b", "c d"): 6, ("list",): 7, ("list", 1): 8, ("list", 2, "deep", 1): 9,
        ("list", 2, "other", "one"): 9, ("t", "u v"): 11, ("t", "u v", "k"): 12,
        ("t", "rows", 0, "a"): 15, ("t", "rows", 1): 16, ("t", "rows", 1, "in", "b"): 18,
        ("t", "rows", 1, "more", 0, "c"): 20, ("t", "rows", 1, "in", "nothing"): 17, ("no",): 0,
    }  # fmt: skip
    assert {path: lines[path] for path in expected} == expected
