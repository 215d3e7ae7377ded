"""One GET over HTTP, bounded in size, time and redirects. Needs aiohttp.

Rules:
- Only http and https, and never from https to http. No cookies, no credentials of this host.
- The size is bounded before anything is read; nothing is asked for compressed.
- What goes wrong is a `Bad` with a name.
"""

from __future__ import annotations

import asyncio
from urllib.parse import urljoin, urlsplit

import aiohttp
from msgspec import Struct

from zxmpp_plugins.inbound import Bad

__all__ = ["Fetched", "fetch", "new_session"]

MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)


class Fetched(Struct, frozen=True):
    """What came; no `data` if it is as it was."""

    url: str
    data: bytes | None
    content_type: str = ""
    etag: str = ""
    modified: str = ""


def new_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={
            "User-Agent": "zxmpp",
            "Accept": "application/atom+xml, application/rss+xml, application/xml, text/xml, */*",
            "Accept-Encoding": "identity",
        },
    )


async def fetch(
    session: aiohttp.ClientSession, url: str, seconds: float, max_bytes: int,
    etag: str = "", modified: str = "",
) -> Fetched:  # fmt: skip
    """What is at `url`, if it is not what it was when it had `etag` and `modified`."""
    asked = {"If-None-Match": etag, "If-Modified-Since": modified}
    headers = {name: value for name, value in asked.items() if value}
    try:
        async with asyncio.timeout(seconds):
            for _ in range(MAX_REDIRECTS + 1):
                async with session.get(url, headers=headers, allow_redirects=False) as response:
                    if response.status not in _REDIRECTS:
                        return await _read(response, url, max_bytes)
                    url = _next(url, response.headers.get("Location", ""))
            raise Bad("bad-redirect", f"more than {MAX_REDIRECTS} redirects")
    except TimeoutError:
        raise Bad("too-slow", f"nothing came within {seconds:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise Bad("not-reached", str(error) or type(error).__name__) from None


def _next(url: str, location: str) -> str:
    new = urljoin(url, location)
    scheme = urlsplit(new).scheme
    if not location or scheme not in ("http", "https"):
        raise Bad("bad-redirect", f"it redirects to {location[:200]!r}")
    if scheme == "http" and urlsplit(url).scheme == "https":
        raise Bad("bad-redirect", "it redirects from https to http")
    return new


async def _read(response: aiohttp.ClientResponse, url: str, max_bytes: int) -> Fetched:
    if response.status == 304:
        return Fetched(url, None)
    if response.status != 200:
        raise Bad("bad-status", f"the server says {response.status}")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise Bad("bad-feed", "it comes compressed, which was not asked for")
    data = bytearray()
    while len(data) <= max_bytes >= (response.content_length or 0):
        chunk = await response.content.readany()
        if not chunk:
            headers = response.headers
            return Fetched(
                url, bytes(data), headers.get("Content-Type", ""), headers.get("ETag", "")[:500],
                headers.get("Last-Modified", "")[:100],
            )  # fmt: skip
        data += chunk
    raise Bad("too-big", f"it has more than {max_bytes} bytes")
