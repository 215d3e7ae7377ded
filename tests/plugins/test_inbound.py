"""Allow-lists, templates, usages: the pure parts that plugins share."""

from __future__ import annotations

import pytest
from slixmpp.jid import JID

from zxmpp_plugins.inbound import AllowList, jid_of
from zxmpp_plugins.templates import checked
from zxmpp_plugins.usage import parameters

LISTED = AllowList("allow_to", ["M@Example.ORG", "@team.example.org", "bot.example.net"])


@pytest.mark.parametrize(
    "jid",
    [
        "m@example.org", "M@EXAMPLE.org/desk", "m@example.org/x@evil.net", "a@team.example.org",
        "z@TEAM.example.org/r", "bot.example.net", "bot.example.net/r",
    ],
)  # fmt: skip
def test_listed(jid: str) -> None:
    assert JID(jid) in LISTED


@pytest.mark.parametrize(
    "jid",
    [
        "m@example.org.evil.net", "m@evil-example.org", "xm@example.org", "m@sub.example.org",
        "example.org", "n@example.org", "a@sub.team.example.org", "a@xteam.example.org",
        "a@team.example.org.evil.net", "team.example.org", "x@bot.example.net",
        "m.example.org@evil.net", "evil.net/m@example.org", "\u043c@example.org",
        "m@example.org.",
    ],
)  # fmt: skip
def test_look_alikes_are_not_listed(jid: str) -> None:
    assert JID(jid) not in LISTED


def test_an_empty_list_allows_nobody() -> None:
    assert JID("m@example.org") not in AllowList("allow_to", [])


@pytest.mark.parametrize(
    "entry",
    ["", "@", "*", "*@example.org", "@*.example.org", "@@example.org", "@m@example.org",
     "m@example.org/desk", "m@exa mple.org", "m@"],
)  # fmt: skip
def test_what_is_no_entry(entry: str) -> None:
    with pytest.raises(ValueError, match=r"allow_to: .* neither a bare JID .* nor a whole domain"):
        AllowList("allow_to", [entry])


@pytest.mark.parametrize("text", ["", "/", "@example.org", "a@b@c", "a b@c", "m@", "\x00@e.org"])
def test_what_is_no_jid(text: str) -> None:
    assert jid_of(text) is None


def test_templates_know_names_and_numbers_only() -> None:
    fields = {"host": "db1", "0": "disk", "a_b-c": "x"}
    template = checked("$0 on ${host}s costs $$5: $host.__class__ {host} $a_b-c", "template")
    assert template.substitute(fields) == "disk on db1s costs $5: db1.__class__ {host} x"


@pytest.mark.parametrize("template", ["$", "50 $ off", "${host", "${host.name}", "$(host)"])
def test_a_lost_dollar_is_an_error(template: str) -> None:
    with pytest.raises(ValueError, match=r"template: .* write \$name, or \$\$"):
        checked(template, "template")


def test_an_unknown_name_is_an_error_where_names_are_known() -> None:
    with pytest.raises(ValueError, match=r"no \$nick; use any of \$room, \$type"):
        checked("$nick", "topic", ("room", "type"))


@pytest.mark.parametrize(
    ("usage", "names"),
    [("", []), ("<text ...>", ["text"]), ("<to> [style] [text ...]", ["to", "style", "text"])],
)
def test_usages(usage: str, names: list[str]) -> None:
    assert [parameter.name for parameter in parameters(usage)] == names


@pytest.mark.parametrize(
    "usage",
    [
        "text",
        "<a b>",
        "<text ...> <more>",
        "<a ...> <b ...>",
        "[a] <b>",
        "<a> <a>",
        "<from>",
        "<1>",
        "<a",
    ],
)
def test_what_is_no_usage(usage: str) -> None:
    with pytest.raises(ValueError, match="usage: "):
        parameters(usage)
