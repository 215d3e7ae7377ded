"""What is written is byte for byte what slixmpp's `tostring` makes of it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slixmpp.xmlstream import tostring

from zxmpp.streams.serialising import serialise

XML_NS = "http://www.w3.org/XML/1998/namespace"
STREAM_NS = "http://etherx.jabber.org/streams"
NAMESPACES = ("", "jabber:client", "jabber:component:accept", STREAM_NS, XML_NS, "urn:a", "urn:b&c")


class Settings:
    """What `tostring` asks a stream for."""

    def __init__(self, default_ns: str, prefixes: dict[str, str], use_cdata: bool) -> None:
        self.default_ns = default_ns
        self.stream_ns = STREAM_NS
        self.use_cdata = use_cdata
        self.namespace_map = prefixes


def stock(xml: Any, stream: Any) -> str:
    return str(tostring(xml, xmlns=stream.default_ns, stream=stream, top_level=True))


texts = st.none() | st.text(
    st.sampled_from("ab &<>'\"]}{\t\n\r\x00\x1f\ud800\uffff\u00e9\u2028\U0001f600"), max_size=12
) | st.just("]]>")  # fmt: skip
names = st.sampled_from(("message", "body", "x", "iq", "a}b", ""))
tags = st.builds(
    lambda ns, name: f"{{{ns}}}{name}" if ns else name, st.sampled_from(NAMESPACES), names
)
keys = st.builds(
    lambda ns, name: f"{{{ns}}}{name}" if ns else name,
    st.sampled_from(NAMESPACES), st.sampled_from(("id", "lang", "to")),
)  # fmt: skip


@st.composite
def elements(draw: Any, children: Any = None) -> ET.Element:
    element = ET.Element(draw(tags))
    for key, value in draw(
        st.dictionaries(keys, texts.filter(lambda t: t is not None), max_size=4)
    ).items():
        element.set(key, value)
    element.text = draw(texts)
    element.tail = draw(texts)
    element.extend(draw(children) if children is not None else [])
    return element


trees = st.recursive(elements(), lambda inner: elements(st.lists(inner, max_size=4)), max_leaves=12)
streams = st.builds(
    Settings,
    st.sampled_from(("", "jabber:client", "jabber:component:accept", "urn:a")),
    st.dictionaries(
        st.sampled_from((*NAMESPACES, "urn:c")),
        st.sampled_from(("xml", "stream", "p", "")),
        max_size=4,
    ),
    st.booleans(),
)


@given(trees, streams)
def test_the_same_text_as_slixmpp(tree: ET.Element, stream: Any) -> None:
    assert serialise(tree, stream) == stock(tree, stream)


class Loud(str):
    """A string that is not what its characters say."""

    __slots__ = ()

    def __iter__(self) -> Any:
        return iter("<loud>")


@pytest.mark.parametrize("use_cdata", [False, True])
@pytest.mark.parametrize("value", [("bad", " & ", "worse"), ["a"], Loud("x"), Loud("<"), {"k": 1}])
def test_what_is_no_plain_string_is_written_as_slixmpp_does(value: Any, use_cdata: bool) -> None:
    stream = Settings("jabber:client", {}, use_cdata)
    element = ET.Element("{jabber:client}iq", {"id": value})
    element.text = element.tail = value
    try:
        expected = stock(element, stream)
    except Exception as error:
        with pytest.raises(type(error)):
            serialise(element, stream)
    else:
        assert serialise(element, stream) == expected


@pytest.mark.parametrize("value", [1, None, object(), (1, 2)])
def test_what_slixmpp_can_not_write_is_refused_likewise(value: Any) -> None:
    stream = Settings("jabber:client", {}, False)
    element = ET.Element("{jabber:client}iq", {"id": value})
    with pytest.raises(TypeError):
        stock(element, stream)
    with pytest.raises(TypeError):
        serialise(element, stream)
