"""Programs for `worlds`: what users and servers may do to a stream, in any order."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.streams.parts import CLASSES, PLUGINS, Do, Make, Want

NAMES = st.sampled_from("abc")
IDS = st.sampled_from(["", "i1", "i1", "i2", "p1", "p2"])
PEERS = st.sampled_from(["", "c@d", "c@d/r", "localhost", "bot@localhost"])

PATHS = st.one_of(
    st.sampled_from([
        "message", "message/alpha", "message/gamma", "iq/alpha", "message/body", "message/body",
        "alpha", "message/gam", "mess",
    ]),
    st.sampled_from([
        "presence", "iq", "iq/beta", "message/gamma@x=1", "iq@type=get/alpha", "iq@type=set/alpha",
        "message@type=chat/alpha", "presence@id=i1", "message@beta=1", "message@beta=/beta",
        "message@from=c@d/alpha", "message/alpha/sub", "message/alpha@x=1", "message/alpha/word",
        "message/word", "message/epsilon", "stanza", "nonza", "nonza/word",
        "nonza@type=chat/alpha", "strange/beta", "alpha/alpha", "@type=chat", "message@lang=de/alpha",
        "{jabber:client}message/{urn:a}alpha", "/message/alpha", "message/gammas",
        "message@type=chat@id=i1/body", "plug/alpha", "iq/error",
    ]),
)  # fmt: skip
XPATHS = st.one_of(
    st.sampled_from([
        "{jabber:client}message", "{jabber:client}message/{urn:a}alpha",
        "{jabber:component:accept}message", "{jabber:component:accept}message/{urn:a}alpha",
        "{jabber:client}message/{urn:a}alpha[@x='1']",
    ]),
    st.sampled_from([
        "{jabber:component:accept}message/{jabber:component:accept}body", "{urn:n}nonza",
        "{jabber:client}message/{jabber:client}body", "{urn:n}nonza/{urn:a}alpha/{urn:a}sub",
        "{jabber:client}iq/{urn:a}alpha/{urn:a}sub", "*", "{*}message", "{jabber:client}*",
        "message", ".//{urn:a}alpha", "{jabber:client}message[@type='chat']/{urn:a}alpha",
        "{urn:n}unknown", "{jabber:client}iq/*",
        "{jabber:client}message/..", ]),
)  # fmt: skip
MASKS = st.tuples(
    st.sampled_from([
        "<message xmlns='jabber:client'/>", "<message/>", "<nonza xmlns='urn:n'/>", "<nonza/>",
        "<message xmlns='jabber:client' type='chat'><alpha xmlns='urn:a'/></message>",
        "<message type='__None__'/>", "<iq type='get'/>", "<presence id='i1'/>",
    ]),
    st.sampled_from(["jabber:client", "jabber:component:accept", "urn:n"]),
)  # fmt: skip

SIMPLE_WANTS = st.one_of(
    st.builds(Want, st.just("path"), PATHS),
    st.builds(Want, st.just("path"), PATHS),
    st.builds(Want, st.just("xpath"), XPATHS),
    st.builds(Want, st.just("mask"), MASKS),
    st.builds(Want, st.just("id"), IDS),
    st.builds(Want, st.just("sender"), st.tuples(IDS, PEERS)),
    st.builds(
        Want,
        st.just("own"),
        st.sampled_from(
            [
                "alters",
                "alters",
                "alters",
                "renames",
                "removes",
                "registers",
                "registers",
                "messages",
                "raises",
            ]
        ),
    ),
    st.builds(Want, st.just("own path"), PATHS),
    st.sampled_from([Want("duck", None), Want("own", "alters"), Want("own", "renames")]),
)
#: slixmpp raises when it asks them, some for every stanza.
RAISING_WANTS = st.sampled_from([
    Want("path", ""), Want("path", "message@broken"), Want("xpath", "[broken"), Want("xpath", ""),
    Want("xpath", "{jabber:client}message[@broken"),
])  # fmt: skip
_MANY_WANTS = st.builds(
    Want, st.sampled_from(["many", "many", "once"]), st.lists(SIMPLE_WANTS, max_size=3).map(tuple)
)
WANTS = st.integers(0, 24).flatmap(
    lambda number: RAISING_WANTS if number == 24 else _MANY_WANTS if number > 20 else SIMPLE_WANTS
)
OFTEN_FALSE = st.sampled_from([False, False, True])

_CHILDREN = (
    "<alpha xmlns='urn:a'/>", "<alpha xmlns='urn:a' x='1'><sub xmlns='urn:a'/></alpha>",
    "<alpha xmlns='urn:a' xml:lang='de'><word>w</word></alpha>", "<beta xmlns='urn:b'>1</beta>",
    "<gamma xmlns='urn:g' x='1'/>", "<gamma xmlns='urn:g'><alpha xmlns='urn:a'/></gamma>",
    "<delta xmlns='urn:d'/>", "<epsilon xmlns='urn:e'/>", "<body>hello</body>", "<body>hi</body>",
    "<body xmlns='jabber:client'>hello</body>", "<word xmlns='urn:n'>w</word>",
    "<unknown xmlns='urn:u'/>",
)  # fmt: skip


@st.composite
def stanzas(draw: st.DrawFn) -> str:
    """The text of a stanza, DEFAULT where the stream's namespace is meant."""
    name, namespace = draw(
        st.sampled_from([
            ("message", "DEFAULT"), ("message", "DEFAULT"), ("message", "DEFAULT"),
            ("message", "jabber:client"), ("presence", "DEFAULT"), ("iq", "DEFAULT"),
            ("iq", "DEFAULT"), ("nonza", "urn:n"), ("strange", "urn:n"), ("unknown", "urn:n"),
        ])
    )  # fmt: skip
    types = ["", "chat", "get", "set", "result", "unavailable"]
    attributes = {
        "type": draw(st.sampled_from(types)),
        "id": draw(IDS),
        "from": draw(st.sampled_from(["c@d", "c@d/r", "", "@@", "localhost", "bot@localhost"])),
        "xml:lang": draw(st.sampled_from(["", "", "de"])),
    }
    text = "".join(f" {key}='{value}'" for key, value in attributes.items() if value)
    children = draw(st.lists(st.sampled_from(_CHILDREN), max_size=3))
    return f"<{name} xmlns='{namespace}' to='bot@localhost'{text}>{''.join(children)}</{name}>"


@st.composite
def answers(draw: st.DrawFn) -> str:
    """The text of an answer to a request, whoever sent it."""
    kind = draw(st.sampled_from(["result", "result", "error", "get"]))
    wanted = draw(st.sampled_from(["p1", "p2"]))
    sender = draw(st.sampled_from(["c@d", "c@d/r", "", "localhost", "bot@localhost", "x@y"]))
    return f"<iq xmlns='DEFAULT' type='{kind}' id='{wanted}' from='{sender}'/>"


_NUMBERS = st.integers(0, 5)
HANDLER_STEPS: Any = st.one_of(
    st.builds(Do, st.just("remove"), NAMES),
    st.builds(Do, st.just("fail"), st.sampled_from(["xmpp", "other"])),
    st.builds(Do, st.just("edit"), st.sampled_from(["add", "clear", "i1"])),
    st.builds(Do, st.just("receive"), stanzas()),
    st.builds(Do, st.just("register"), st.deferred(lambda: HANDLERS)),
    st.builds(Do, st.just("again"), _NUMBERS),
    st.builds(Do, st.just("reply")),
    st.builds(Do, st.just("plugin"), st.sampled_from(sorted(PLUGINS))),
    st.builds(Do, st.just("list"), st.sampled_from(["reverse", "delete"])),
    st.builds(Do, st.just("ask"), st.tuples(st.sampled_from(["p1", "p2"]), PEERS)),
)
HANDLERS: Any = st.builds(
    Make,
    NAMES,
    st.sampled_from([
        "callback", "callback", "callback", "coroutine", "xml", "collector", "waiter",
        "xml waiter", "own", "heir", "bound",
    ]),
    WANTS,
    OFTEN_FALSE,
    OFTEN_FALSE,
    st.lists(HANDLER_STEPS, max_size=2).map(tuple),
)  # fmt: skip
STEPS: Any = st.one_of(
    st.builds(Do, st.just("register"), HANDLERS),
    st.builds(Do, st.just("register"), HANDLERS),
    st.builds(Do, st.just("receive"), stanzas()),
    st.builds(Do, st.just("receive"), stanzas()),
    st.builds(Do, st.just("receive"), stanzas()),
    st.builds(Do, st.just("plugin"), st.sampled_from(sorted(PLUGINS))),
    st.builds(Do, st.just("ask"), st.tuples(st.sampled_from(["p1", "p2"]), PEERS)),
    st.builds(Do, st.just("receive"), answers()),
    st.one_of(
        st.builds(Do, st.just("remove"), NAMES),
        st.builds(Do, st.just("again"), _NUMBERS),
        st.builds(Do, st.just("class"), st.sampled_from(sorted(CLASSES))),
        st.builds(
            Do, st.just("filter"), st.sampled_from(["pass", "drop", "once", "replace", "edit"])
        ),
        st.builds(
            Do,
            st.just("list"),
            st.sampled_from(["reverse", "double", "move", "delete", "new", "remove"]),
        ),
        st.builds(Do, st.just("exchange"), st.tuples(_NUMBERS, WANTS)),
        st.builds(Do, st.just("namespace"), _NUMBERS),
        st.builds(Do, st.just("stop"), _NUMBERS),
        st.builds(Do, st.just("language"), st.sampled_from(["de", ""])),
    ),
)


def _program(*parts: list[Do]) -> tuple[Do, ...]:
    return tuple(step for part in parts for step in part)


_REGISTER = st.builds(Do, st.just("register"), HANDLERS)
_RECEIVE = st.builds(Do, st.just("receive"), stanzas())
_PLUGIN = st.builds(Do, st.just("plugin"), st.sampled_from(sorted(PLUGINS)))
_CLASS = st.builds(Do, st.just("class"), st.sampled_from(sorted(CLASSES)))
_LANGUAGE = st.builds(Do, st.just("language"), st.sampled_from(["de", ""]))

#: Whether the stream is a component, and what happens to it.
PROGRAMS: Any = st.tuples(
    st.booleans(),
    st.builds(
        _program,
        st.lists(st.one_of(_PLUGIN, _PLUGIN, _CLASS, _LANGUAGE), max_size=5, unique=True),
        st.lists(_REGISTER, min_size=2, max_size=6),
        st.lists(_RECEIVE, min_size=1, max_size=3),
        st.lists(STEPS, max_size=8),
        st.lists(_RECEIVE, min_size=1, max_size=3),
    ),
)
