"""What docs/ lists beside the code is complete: standards, statistics, counts of plugins, links."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.docs.test_samples import PAGES, ROOT, name_of
from zxmpp import event
from zxmpp.testing import TestBot

DOCS = ROOT / "docs"
NS = {
    "doap": "http://usefulinc.com/ns/doap#",
    "xmpp": "https://linkmauve.fr/ns/xmpp-doap#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
}
RESOURCE = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}resource"
#: Servers that tests start have standards of their own.
NOT_OURS = ROOT / "zxmpp" / "testing" / "servers"
CODE = [
    file
    for folder in ("zxmpp", "plugins")
    for file in sorted((ROOT / folder).rglob("*.py"))
    if not file.is_relative_to(NOT_OURS)
]


def listed() -> dict[str, ET.Element]:
    """What doap.xml says of each XEP, by its number."""
    found = {}
    for each in ET.parse(DOCS / "doap.xml").iterfind(".//xmpp:SupportedXep", NS):
        link = each.find("xmpp:xep", NS)
        assert link is not None
        match = re.fullmatch(
            r"https://xmpp\.org/extensions/xep-(\d{4})\.html", link.get(RESOURCE, "")
        )
        assert match, link.get(RESOURCE)
        assert match[1] not in found, "twice"
        found[match[1]] = each
    return found


def test_doap_has_each_xep_that_the_code_names_and_no_other() -> None:
    named = {
        number for file in CODE for number in re.findall(r"(?:XEP-|xep_)(\d{4})", file.read_text())
    }
    assert len(named) > 20, "the pattern finds the XEPs no more"
    assert sorted(listed()) == sorted(named)
    assert list(listed()) == sorted(listed()), "they stand in order"


@pytest.mark.parametrize("number", listed())
def test_doap_says_of_each_xep_what_there_is(number: str) -> None:
    xep = listed()[number]
    assert xep.findtext("xmpp:status", "", NS) in ("complete", "partial", "planned")
    for name in ("version", "since"):
        assert re.fullmatch(r"\d+(\.\d+)+", xep.findtext(f"xmpp:{name}", "", NS)), name
    assert xep.findtext("rdfs:label", "", NS)
    assert xep.findtext("xmpp:note", "", NS).endswith(".")


def test_the_drawing_says_what_the_text_says() -> None:
    svg = ET.parse(DOCS / "_static" / "flow.svg")
    words = " ".join(svg.getroot().itertext())
    page = (DOCS / "index.md").read_text()
    picture = re.search(r"^```\{drawing\} \S+\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert picture
    for word in re.findall(r"[A-Za-z]{4,}", picture[1].replace("(out the same way)", "")):
        assert word.lower() in words.lower(), word


async def test_every_statistic_is_explained() -> None:
    page = (DOCS / "reference" / "metrics.md").read_text()
    async with TestBot('[broker]\nbind = "tcp://127.0.0.1:*"') as bot:
        statistics = bot.app.statistics()
    (stream,) = statistics["streams"].values()
    for name in (*statistics, *statistics["services"], *stream):
        assert f"`{name}`" in page, name


@pytest.mark.parametrize("page", sorted((DOCS / "plugins").glob("*.md")), ids=name_of)
def test_every_count_of_a_plugin_is_explained(page: Path) -> None:
    source = ROOT / "plugins" / f"{page.stem}.py"
    if page.stem == "index":
        return
    text = page.read_text()
    for reason in re.findall(r"""(?:\bBad\(|\.count\()\s*"([a-z0-9-]+)\"""", source.read_text()):
        assert f"`{reason}`" in text, reason


# -- links: those between pages of docs/ are checked by the build ------------------------------------

OUTSIDE = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
OUTSIDE += sorted(ROOT.glob("examples/*/README.md"))
LINK = re.compile(r"\]\((?!https?:|mailto:|xmpp:)([^)#\s]*)(?:#([^)\s]+))?\)")


def anchors(page: Path) -> set[str]:
    text = page.read_text()
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}
    return slugs | set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))


@pytest.mark.parametrize("page", OUTSIDE, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text()):
        goal = (page.parent / target).resolve() if target else page
        assert goal.exists(), target
        if anchor:
            assert anchor in anchors(goal), f"{target}#{anchor}"


def test_pages_that_code_and_messages_name_exist() -> None:
    named = {
        path
        for file in (*CODE, *PAGES)
        for path in re.findall(r"\bdocs/[\w/]+\.md", file.read_text())
    }
    assert named
    for path in named:
        assert (ROOT / path).exists(), path


def test_examples_that_pages_name_exist() -> None:
    for page in PAGES:
        for path in re.findall(r"`(examples/[\w./-]+)`", page.read_text()):
            assert (ROOT / path).exists(), f"{name_of(page)}: {path}"


def test_every_event_has_its_fields_listed() -> None:
    page = (DOCS / "reference" / "events.md").read_text()
    for cls in event.Event.__subclasses__():
        if cls.__name__ in event.__all__:
            assert f"```{{fields}} zxmpp.event.{cls.__name__}\n" in page, cls.__name__
            assert f"| [`{cls.__name__}`]" in page, cls.__name__


def test_the_layout_names_every_module() -> None:
    page = (DOCS / "architecture.md").read_text()
    layout = page.split("## Layout")[1].split("## An arrival")[0]
    for path in (ROOT / "zxmpp").iterdir():
        if path.suffix == ".py" or (path / "__init__.py").exists():
            assert path.name in layout, path.name
