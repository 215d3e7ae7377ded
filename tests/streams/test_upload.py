"""Files: who is asked, what is refused before anything is asked for, what is put where."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest
from aiohttp import web

from zxmpp.errors import StreamError
from zxmpp.streams import upload
from zxmpp.streams.upload import Uploads, safe_name

from .conftest import Line

DISCO = "http://jabber.org/protocol/disco#"
UPLOAD = "urn:xmpp:http:upload:0"


class Host:
    """A server with a service for files, and a web server behind it."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.line.xmpp.register_plugin("xep_0030")
        line.online()
        line.answers(self._answer)
        self.asked: list[str] = []
        self.put: list[tuple[str, bytes, dict[str, str]]] = []
        self.limit = "1000"
        self.status = 201
        self.url = ""
        self.slot = "<header name='Authorization'>key</header><header name='Host'>evil</header>"
        self.services = "<item jid='rooms.localhost'/><item jid='files.localhost'/>"
        self.error = ""
        self.ends: Callable[[], Any] | None = None

    def uploads(self, **more: Any) -> Uploads:
        more = {"local": True, **more}
        return Uploads("main", self.line.xmpp, lambda: "nick@bot.localhost", **more)

    async def serve(self) -> None:
        app = web.Application()
        app.router.add_put("/{name}", self._take)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}/name"
        self.ends = runner.cleanup

    async def _take(self, request: web.Request) -> web.Response:
        self.put.append((request.path, await request.read(), dict(request.headers)))
        return web.Response(status=self.status, headers={"Location": "/elsewhere"})

    def _answer(self, _: str, to: str, inner: str) -> str | None:
        if f"{DISCO}items" in inner:
            self.asked.append(f"items {to}")
            return f"<query xmlns='{DISCO}items'>{self.services}</query>"
        if f"{DISCO}info" in inner:
            self.asked.append(f"info {to}")
            if to != "files.localhost":
                return f"<query xmlns='{DISCO}info'><feature var='other'/></query>"
            form = (f"<x xmlns='jabber:x:data' type='result'><field var='max-file-size'>"
                    f"<value>{self.limit}</value></field></x>")  # fmt: skip
            return f"<query xmlns='{DISCO}info'><feature var='{UPLOAD}'/>{form}</query>"
        if UPLOAD in inner:
            self.asked.append(f"slot {to} {re.findall('filename=.([^ ]*). ', inner)[0]}")
            if self.error:
                return self.error
            return (f"<slot xmlns='{UPLOAD}'><put url={quoteattr(self.url)}>{self.slot}</put>"
                    f"<get url={quoteattr(self.url)}/></slot>")  # fmt: skip
        return None


@pytest.fixture
async def host(line: Line) -> AsyncIterator[Host]:
    host = Host(line)
    await host.serve()
    yield host
    assert host.ends is not None
    await host.ends()


async def test_a_file_goes_where_the_slot_says(host: Host, tmp_path: Path) -> None:
    uploads = host.uploads()
    assert await uploads.upload(b"some text", "../a.txt", "") == host.url
    path, data, headers = host.put[0]
    assert (path, data) == ("/name", b"some text")
    assert headers["Content-Type"] == "text/plain"
    assert headers["Content-Length"] == "9"
    assert headers["Authorization"] == "key"
    assert headers["Host"] != "evil"
    assert host.asked[-1] == "slot files.localhost a.txt"

    # The service is known by now, until there is a new session.
    file = tmp_path / "b.bin"
    file.write_bytes(b"x" * 1000)
    host.asked.clear()
    await uploads.upload(file, "b.bin", "application/x-b")
    assert host.put[1][1] == b"x" * 1000
    assert host.put[1][2]["Content-Type"] == "application/x-b"
    assert host.asked == ["slot files.localhost b.bin"]
    uploads.forget()
    await uploads.upload(b"x", "c", "")
    assert "items localhost" in host.asked


async def test_a_service_that_the_configuration_names(host: Host) -> None:
    await host.uploads(service="files.localhost").upload(b"x", "c", "")
    assert host.asked == ["info files.localhost", "slot files.localhost c"]
    with pytest.raises(
        StreamError, match=r"rooms\.localhost is no upload service; check upload_se"
    ):
        await host.uploads(service="rooms.localhost").upload(b"x", "c", "")


async def test_what_is_too_large_is_not_even_asked_for(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "b.bin"
    file.write_bytes(b"x" * 1001)
    for data in (file, b"x" * 1001):
        with pytest.raises(StreamError, match=r"has 1001 bytes, and files\.localhost takes 1000"):
            await host.uploads().upload(data, "b.bin", "")
    assert not [asked for asked in host.asked if asked.startswith("slot")]
    host.limit = "nonsense"
    await host.uploads().upload(file, "b.bin", "")


async def test_what_can_go_wrong_says_so(host: Host, tmp_path: Path) -> None:
    async def fails(match: str, data: bytes | Path = b"x") -> None:
        with pytest.raises(StreamError, match=match):
            await host.uploads().upload(data, "b.bin", "")

    await fails("No such file", tmp_path / "none")
    await fails("b.bin is empty", b"")
    host.status = 413
    await fails("answered 413")
    host.status = 302
    await fails("answered 302")
    assert [path for path, _, _ in host.put] == ["/name"] * 2
    for url in (
        "http://example.org/x",
        "file:///etc/passwd",
        "",
        "http://[x/",
        "https:///x",
        "https://example.org/a\nb",
        "https://example.org/a b",
        "HTTP://127.0.0.2.evil/",
    ):
        host.url = url
        await fails("which has no TLS")
    host.url = "http://127.0.0.1:1/x"
    await fails("can't be reached")
    host.error = ("<error type='modify'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
                  "<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>no</text></error>")  # fmt: skip
    await fails("refuses b.bin, 1 bytes: not-acceptable no")
    host.error = "<other xmlns='urn:other'/>"
    await fails("gave no slot")
    host.services = ""
    await fails("has no upload service")


async def test_a_server_elsewhere_names_nothing_on_this_machine(host: Host) -> None:
    with pytest.raises(StreamError, match="has no TLS"):
        await host.uploads(local=False).upload(b"x", "b.bin", "")
    assert host.put == []


@pytest.mark.parametrize(
    "url", ["https://a..b/", f"https://{'a' * 300}/", "https://127.0.0.1:99999/", "https://%00/"]
)
async def test_an_address_that_is_none_is_an_error_of_the_stream(host: Host, url: str) -> None:
    host.url = url
    with pytest.raises(StreamError, match="can't send a file"):
        await host.uploads().upload(b"x", "b.bin", "")


@pytest.mark.parametrize("limit", ["9" * 5000, "-1", "\u0663", "1e3"])
async def test_a_size_that_is_none_is_no_bound(host: Host, limit: str) -> None:
    host.limit = limit
    if limit == "\u0663":  # three, in Arabic
        with pytest.raises(StreamError, match="takes 3 at most"):
            await host.uploads().upload(b"xxxx", "b.bin", "")
    else:
        await host.uploads().upload(b"x" * 5000, "b.bin", "")


@pytest.mark.parametrize(
    "media_type", ["text/plain\r\nHost: evil", "text/plain\0", "text", "a/b\ud800", "x" * 9999]
)
async def test_a_media_type_is_one(host: Host, media_type: str) -> None:
    with pytest.raises(StreamError, match="is no media type; write one as image/png"):
        await host.uploads().upload(b"x", "b.bin", media_type)
    assert host.asked == []
    await host.uploads().upload(b"x", "b.bin", 'text/plain; charset="utf-8"')


@pytest.mark.parametrize("jid", ["@", "a@@b", "x" * 2000, " ", ""])
async def test_an_entry_of_the_servers_list_that_is_no_address(host: Host, jid: str) -> None:
    host.services = f"<item jid='{jid}'/><item jid='files.localhost'/>"
    await host.uploads().upload(b"x", "b.bin", "")


async def test_a_server_that_is_silent_does_not_hold_us(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "PUT_SECONDS", 0.05)
    host.line.transport.on_write = None  # type: ignore[union-attr]
    with pytest.raises(StreamError, match=r"took more than 0\.05 s"):
        await host.uploads().upload(b"x", "b.bin", "")


async def test_a_few_at_a_time(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    now = most = 0

    async def put(*_: Any) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1

    uploads = host.uploads()
    monkeypatch.setattr(uploads, "_put", put)
    await asyncio.gather(*(uploads.upload(b"x", f"{n}.bin", "") for n in range(20)))
    assert most <= upload.AT_ONCE


async def test_without_aiohttp(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(StreamError, match=r"it needs aiohttp: pip install 'zxmpp\[web\]'"):
        await host.uploads().upload(b"x", "b.bin", "")


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("report.pdf", "report.pdf"), ("../../etc/passwd", "passwd"), ("C:\\a\\b.txt", "b.txt"),
        ("", "file"), ("..", "file"), (".hidden", "hidden"), ("a\x00\nb\u202e.txt", "ab.txt"),
        ("x" * 200 + ".png", "x" * 96 + ".png"), ("x" * 200, "x" * 100), ("dir/", "file"),
    ],
)  # fmt: skip
def test_a_name_is_a_name(name: str, safe: str) -> None:
    assert safe_name(name) == safe
