"""From the bytes of a feed to its entries. Needs feedparser; runs in a thread.

Rules:
- Only RSS and Atom in XML, without a DTD of their own: no entity can grow.
- What is written in HTML comes out as one line of text, a link only if it leads to the web.
- The number of entries and the length of all texts are bounded, whatever a feed has.
"""

from __future__ import annotations

import codecs
import hashlib
import html
import io
import re
from typing import Any
from urllib.parse import urljoin

import feedparser
from msgspec import Struct

from zxmpp_plugins.inbound import Bad
from zxmpp_plugins.texts import one_line

__all__ = ["MAX_ENTRIES", "Entry", "parse"]

#: Of one feed, the first ones.
MAX_ENTRIES = 200
#: A feed that has more is not looked at.
MAX_ITEMS = 5000
MAX_DEPTH = 100
MAX_TEXT = 300
MAX_LINK = 1000

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
    (b"<\0?\0", "utf-16-le"), (b"\0<\0?", "utf-16-be"),
)  # fmt: skip
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,20})["']""")
_CHARSET = re.compile(r"""charset\s*=\s*["']?([A-Za-z0-9._-]{1,20})""", re.IGNORECASE)
_CODECS = re.compile(
    r"utf-?8|(us-)?ascii|utf-?16|iso-?8859-?\d{1,2}|latin-?1|(windows-|cp)125\d|koi8-[ru]"
    r"|shift_jis|euc-(jp|kr)|iso-2022-jp|gb2312|gbk|gb18030|big5",
    re.IGNORECASE,
)
#: What may stand before the root element, and be left out: also the name of a DTD, but no DTD.
_PROLOG = re.compile(r"(?:\s+|<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^\[<>]{0,500}>)*", re.DOTALL)
#: A section of text, or a tag.
_MARKS = re.compile(
    r"<!\[CDATA\[.*?(?:\]\]>|\Z)|<!--.*?(?:-->|\Z)|<(/?)([A-Za-z_][^\s<>/]*+)([^<>]*+)>", re.DOTALL
)
_TAG = re.compile(
    r"<(script|style)\b.*?</\1\s*>|<!--.*?-->|<[/!?A-Za-z][^<>]*>", re.DOTALL | re.IGNORECASE
)


class Entry(Struct, frozen=True):
    """One entry; what it does not have is an empty text."""

    #: Tells it from others; not the feed's own, which may be long.
    id: str
    title: str
    link: str
    author: str
    summary: str


def parse(data: bytes, content_type: str, url: str) -> list[Entry]:
    """The entries of the feed in `data`, the newest first: by their dates, or else in its order.
    `Bad` says why it is none."""
    text = _decoded(data, content_type)
    root = text[_match_end(text) :]
    if not re.match(r"<[A-Za-z_]", root):
        raise Bad("bad-feed", "it is no feed in XML, or has a DTD of its own")
    _bounded(root)
    whole = io.BytesIO(b'<?xml version="1.0" encoding="utf-8"?>' + root.encode("utf-8", "replace"))
    headers = {"content-type": "application/xml; charset=utf-8"}
    found = feedparser.parse(
        whole, response_headers=headers, sanitize_html=False, resolve_relative_uris=False
    )
    if not found.version:
        raise Bad("bad-feed", "it is neither RSS nor Atom")
    entries = found.entries[:MAX_ENTRIES]
    dates: list[Any] = [
        dict.get(e, "published_parsed") or dict.get(e, "updated_parsed") for e in entries
    ]
    if all(dates):
        order = sorted(range(len(entries)), key=lambda at: tuple(dates[at]), reverse=True)
        entries = [entries[at] for at in order]
    return [_entry(entry, url) for entry in entries]


def _bounded(root: str) -> None:
    """See that the parser, whose time grows with the square of the depth, has little to do."""
    depth = items = 0
    for found in _MARKS.finditer(root):
        closing, name, rest = found.groups()
        if closing:
            depth -= 1
        elif name:
            depth += not rest.endswith("/")
            items += name in ("item", "entry")
        if depth > MAX_DEPTH or items > MAX_ITEMS:
            raise Bad("bad-feed", f"it has more than {MAX_DEPTH} elements in each other, or more "
                      f"than {MAX_ITEMS} entries")  # fmt: skip


def _match_end(text: str) -> int:
    found = _PROLOG.match(text)
    return found.end() if found else 0


def _decoded(data: bytes, content_type: str) -> str:
    encoding = next((name for bom, name in _BOMS if data.startswith(bom)), "")
    if not encoding:
        declared, charset = _DECLARED.match(data), _CHARSET.search(content_type)
        encoding = declared[1].decode() if declared else charset[1] if charset else "utf-8"
        if not _CODECS.fullmatch(encoding):
            raise Bad("bad-feed", f"its encoding {encoding!r} is not known here")
    try:
        return data.decode(encoding, "replace")
    except LookupError:
        raise Bad("bad-feed", f"its encoding {encoding!r} is not known here") from None


def _entry(entry: Any, url: str) -> Entry:
    title, link = _text(entry, "title"), _link(entry, url)
    summary = _text(entry, "summary")
    names = str(entry.get("id") or "") or link or title + summary
    return Entry(
        hashlib.blake2b(names.encode("utf-8", "replace"), digest_size=8).hexdigest(),
        title or summary or link, link, _text(entry, "author"), summary,
    )  # fmt: skip


def _text(entry: Any, key: str) -> str:
    # Of a long one only the beginning is looked at.
    raw = str(entry.get(key) or "")[: MAX_TEXT * 10]
    return one_line(html.unescape(_TAG.sub(" ", raw)), MAX_TEXT)


def _link(entry: Any, url: str) -> str:
    raw = str(entry.get("link") or "").strip()
    try:
        link = urljoin(url, raw) if raw else ""
    except ValueError:
        return ""
    fits = link.startswith(("http://", "https://")) and len(link) <= MAX_LINK
    return link if fits and not re.search(r"[\s\x00-\x20\x7f]", link) else ""
