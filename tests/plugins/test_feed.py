"""The feed plugin: what is told, once; what a hostile server can not do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tracemalloc
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path

import pytest
from aiohttp import web

from zxmpp import ConfigError, PluginError
from zxmpp.testing.bot import TestBot
from zxmpp_plugins import entries
from zxmpp_plugins.inbound import Bad

from .conftest import COMPONENT, ROOM, counts, said, until

ATOM = '<feed xmlns="http://www.w3.org/2005/Atom"><title>News</title>{}</feed>'


def rss(*items: str) -> bytes:
    return (
        f'<rss version="2.0"><channel><title>News</title>{"".join(items)}</channel></rss>'.encode()
    )


def item(number: int, title: str = "") -> str:
    title = title or f"News {number}"
    return (
        f"<item><guid>id-{number}</guid><title>{title}</title><link>http://x/{number}</link></item>"
    )


class Site:
    """A server with one feed."""

    def __init__(self) -> None:
        self.body = rss()
        self.headers: dict[str, str] = {}
        self.status = 200
        self.asked: list[dict[str, str]] = []
        self.url = ""
        self.hang = asyncio.Event()
        self.hangs = False

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append({name.lower(): value for name, value in request.headers.items()})
        if self.hangs:
            await self.hang.wait()
        if request.path == "/endless":
            response = web.StreamResponse()
            await response.prepare(request)
            with contextlib.suppress(ConnectionError):
                while True:
                    await response.write(b"x" * 65536)
            return response
        if request.path == "/round":
            raise web.HTTPFound("/round")
        if request.path == "/file":
            raise web.HTTPFound("file:///etc/passwd")
        if request.path == "/moved":
            raise web.HTTPMovedPermanently("/feed")
        if (
            self.headers.get("ETag")
            and request.headers.get("If-None-Match") == self.headers["ETag"]
        ):
            return web.Response(status=304)
        return web.Response(body=self.body, status=self.status, headers=self.headers)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    app = web.Application()
    app.router.add_get("/{path:.*}", site.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    tcp = web.TCPSite(runner, "127.0.0.1", 0)
    await tcp.start()
    site.url = f"http://127.0.0.1:{runner.addresses[0][1]}/feed"
    yield site
    site.hang.set()
    await runner.cleanup()


@pytest.fixture(autouse=True)
def by_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is looked at but what a test looks at."""
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    # After a test of a reload it is another module than the one imported here.
    monkeypatch.setattr(import_module("zxmpp_plugins.feed"), "SPREAD", 3600.0)
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))


def config(url: str, more: str = "", top: str = "") -> str:
    return (
        f'{COMPONENT}\n[roles]\nops = ["alice@localhost"]\n[plugins.feed]\nrole = "ops"\n{top}\n'
        f'[plugins.feed.feeds.news]\nurl = "{url}"\nto = ["{ROOM}"]\n{more}\n'
    )


async def look(bot: TestBot) -> list[str]:
    """What is told at one look."""
    before = len(await said(bot))
    await bot.app.plugins.get("feed").look("news")
    return [text for _, text in (await said(bot))[before:]]


# -- what is told -----------------------------------------------------------------------------------


async def test_only_what_is_new_is_told_once_and_the_oldest_first(site: Site) -> None:
    site.body = rss(item(2), item(1))
    async with TestBot(config(site.url)) as bot:
        assert await look(bot) == []
        site.body = rss(item(4), item(3), item(2), item(1))
        assert await look(bot) == ["news: News 3\nhttp://x/3", "news: News 4\nhttp://x/4"]
        assert await look(bot) == []
        assert counts(bot, "feed") == {"told": 2}


async def test_it_is_kept_over_a_restart(site: Site, tmp_path: Path) -> None:
    site.body = rss(item(1))
    async with TestBot(config(site.url)) as bot:
        await look(bot)
    site.body = rss(item(2), item(1))
    async with TestBot(config(site.url)) as bot:
        assert await look(bot) == ["news: News 2\nhttp://x/2"]
    assert list(json.loads((tmp_path / "feed.json").read_text())) == ["news"]
    async with TestBot(config(site.url)) as bot:
        assert await look(bot) == []
    # Under another address it is another feed.
    async with TestBot(config(f"{site.url}?2", "backlog = 1")) as bot:
        assert await look(bot) == ["news: News 2\nhttp://x/2"]


async def test_it_is_kept_over_a_reload(site: Site) -> None:
    site.body = rss(item(1))
    async with TestBot(config(site.url)) as bot:
        await look(bot)
        site.body = rss(item(2), item(1))
        assert await look(bot) == ["news: News 2\nhttp://x/2"]
        await bot.app.plugins.reload("feed")
        await bot.app.plugins.retired()
        assert await look(bot) == []


async def test_a_backlog_and_a_bound(site: Site) -> None:
    site.body = rss(*(item(n) for n in range(9, 0, -1)))
    async with TestBot(config(site.url, "backlog = 2\nmax_items = 3")) as bot:
        assert [text[6:12] for text in await look(bot)] == ["News 8", "News 9"]
        site.body = rss(*(item(n) for n in range(20, 0, -1)))
        assert [text[6:13] for text in await look(bot)] == ["News 18", "News 19", "News 20"]
        assert counts(bot, "feed") == {"told": 5, "left-out": 1}


async def test_a_long_feed_is_never_told_again(site: Site) -> None:
    async with TestBot(config(site.url, "max_items = 1")) as bot:
        for last in range(100, 2000, 100):
            site.body = rss(*(item(n) for n in range(last, max(0, last - 300), -1)))
            assert len(await look(bot)) == (last > 100)
            assert await look(bot) == []
        assert len(bot.app.plugins.get("feed")._kept["news"].seen) == 1000


async def test_the_loop_looks_by_itself(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = import_module("zxmpp_plugins.feed")
    monkeypatch.setattr(feed, "SPREAD", 0.0)
    monkeypatch.setattr(feed.Feed, "pause", lambda self, name: 0.001)
    async with TestBot(config(site.url)) as bot:
        await until(lambda: len(site.asked) > 1)
        site.body = rss(item(1))
        message = await bot.next_message()
        assert message.get("to") == ROOM


async def test_what_was_not_changed_is_not_sent_again(site: Site) -> None:
    site.headers = {"ETag": '"1"', "Last-Modified": "Wed, 25 Nov 2026 22:00:00 GMT"}
    async with TestBot(config(site.url)) as bot:
        for _ in range(2):
            await look(bot)
        assert "if-none-match" not in site.asked[0]
        assert site.asked[1]["if-none-match"] == '"1"'
        assert site.asked[1]["if-modified-since"] == site.headers["Last-Modified"]
        assert counts(bot, "feed") == {}


async def test_a_template(site: Site) -> None:
    entry = (
        "<entry><id>1</id><title>T $link</title><link href='/a'/><author><name>Ann</name></author>"
        "<summary type='html'>&lt;p&gt;S&lt;/p&gt;</summary></entry>"
    )
    site.body = ATOM.format(entry).encode()
    more = 'backlog = 1\ntemplate = "$$ $feed|$title|$author|$summary|$link"'
    async with TestBot(config(site.url, more)) as bot:
        link = site.url.replace("/feed", "/a")
        assert await look(bot) == [f"$ news|T $link|Ann|S|{link}"]


async def test_commands(site: Site) -> None:
    site.body = rss(item(1))
    async with TestBot(config(site.url)) as bot:
        assert "not looked at yet" in await bot.says("!feeds")
        assert await bot.says("!feed-check news") == "news: 0 new"
        assert "fine" in await bot.says("!feeds")
        site.status = 500
        assert await bot.says("!feed-check news") == "news: bad-status"
        assert "bad-status" in await bot.says("!feeds")
        assert (await bot.says("!feed-check old")).startswith("There is no feed 'old'")
        told = await bot.says("!feed-check news", sender="mallory@localhost/x")
        assert told.startswith("There is no command !feed-check.")
        assert site.url not in await bot.says("!feeds")


# -- what goes wrong ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "body", "reason"),
    [
        ("feed", 404, b"", "bad-status"),
        ("feed", 500, b"", "bad-status"),
        ("endless", 200, b"", "too-big"),
        ("feed", 200, b"x" * 1_100_000, "too-big"),
        ("round", 200, b"", "bad-redirect"),
        ("file", 200, b"", "bad-redirect"),
        ("feed", 200, b"", "bad-feed"),
        ("feed", 200, b"/etc/passwd", "bad-feed"),
        ("feed", 200, b"http://127.0.0.1:1/", "bad-feed"),
        ("feed", 200, b"<html><body>no</body></html>", "bad-feed"),
        ("feed", 200, b'{"version": "https://jsonfeed.org/version/1"}', "bad-feed"),
        ("feed", 200, b'<?xml version="1.0" encoding="utf-7"?>' + rss(), "bad-feed"),
        ("feed", 200, b'<?xml version="1.0" encoding="zlib"?>' + rss(), "bad-feed"),
        ("feed", 200, bytes(range(256)) * 100, "bad-feed"),
    ],
)
async def test_each_failure_has_a_name(
    site: Site, path: str, status: int, body: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    site.status, site.body = status, body
    async with TestBot(config(site.url.replace("feed", path))) as bot:
        plugin = bot.app.plugins.get("feed")
        pauses = []
        for _ in range(3):
            assert await look(bot) == []
            pauses.append(plugin.pause("news"))
        assert counts(bot, "feed") == {reason: 3}
        assert caplog.text.count("the next failures are counted") == 1
        assert "Traceback" not in caplog.text
        assert [round(pause / 990) for pause in pauses] == [2, 4, 8]
        plugin._failing["news"] = (reason, 10_000)
        assert plugin.pause("news") == 86_400 * 1.1


async def test_it_is_well_again(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    site.status = 503
    async with TestBot(config(site.url)) as bot:
        await look(bot)
        site.status, site.body = 200, rss(item(1))
        # It was never read before: this is its first look.
        assert await look(bot) == []
        assert caplog.text.count("feed news is fine again") == 1
        assert round(bot.app.plugins.get("feed").pause("news")) == 990


async def test_a_server_that_hangs_or_is_not_there(site: Site) -> None:
    site.hangs = True
    async with TestBot(config(site.url, top="timeout = 0.05")) as bot:
        await look(bot)
        assert counts(bot, "feed") == {"too-slow": 1}
    async with TestBot(config("http://127.0.0.1:9/")) as bot:
        await look(bot)
        assert counts(bot, "feed") == {"not-reached": 1}


async def test_a_moved_feed_is_followed(site: Site) -> None:
    site.body = rss(item(1))
    async with TestBot(config(site.url.replace("feed", "moved"), "backlog = 1")) as bot:
        assert await look(bot) == ["news: News 1\nhttp://x/1"]


async def test_a_disk_that_is_full(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.body = rss(item(1))
    async with TestBot(config(site.url, "backlog = 1")) as bot:

        async def full(_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(bot.app.plugins.get("feed")._file, "write", full)
        assert len(await look(bot)) == 1
        assert await look(bot) == []
        assert counts(bot, "feed")["not-kept"] == 2


async def test_a_file_that_is_not_ours(site: Site, tmp_path: Path) -> None:
    (tmp_path / "feed.json").write_text('{"news": 7}')
    with pytest.raises(PluginError, match=r"feed.json is not what was written there"):
        async with TestBot(config(site.url)):
            pass
    assert (tmp_path / "feed.json").read_text() == '{"news": 7}'


async def test_without_feedparser(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "feedparser", None)
    monkeypatch.delitem(sys.modules, "zxmpp_plugins.entries")
    monkeypatch.delattr("zxmpp_plugins.entries")
    with pytest.raises(PluginError, match=r"needs feedparser; install it: pip install 'zxmpp\[fe"):
        async with TestBot(config(site.url)):
            pass


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("every = 59", "every: a number of seconds from 60"),
        ("backlog = -1", "backlog from 0 to 100"),
        ("max_items = 0", "max_items is 1 or more"),
        ('template = "$body"', "there is no \\$body; use any of \\$feed"),
        ('templates = ""', "templates"),
    ],
)
async def test_a_wrong_config_says_what(more: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        async with TestBot(config("http://x/", more)):
            pass


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/", "x", "", "http://"])
async def test_only_the_web(url: str) -> None:
    with pytest.raises(ConfigError, match="is no address such as"):
        async with TestBot(config(url)):
            pass


# -- what stands in a feed ----------------------------------------------------------------------------


def parsed(data: bytes, kind: str = "text/xml") -> list[entries.Entry]:
    return entries.parse(data, kind, "https://example.org/feed")


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "lol"}">' for n in range(10))


@pytest.mark.parametrize(
    "data",
    [
        f"<!DOCTYPE rss [{LAUGHS}]>".encode() + rss(item(1, "&l9;")),
        f"<?xml version='1.0'?>\n<!-- <a --><!DOCTYPE rss [{LAUGHS}]>".encode() + rss(),
        f"<!doctype rss [{LAUGHS}]>".encode() + rss(item(1, "&l9;")),
        f"<!DOCTYPE rss [{LAUGHS}]>{rss(item(1, '&l9;')).decode()}".encode("utf-16"),
        f'<!DOCTYPE r [<!ENTITY a "{"x" * 100_000}">]>'.encode() + rss(item(1, "&a;" * 100_000)),
        b'<!DOCTYPE rss [<!ENTITY f SYSTEM "file:///etc/passwd">]>' + rss(item(1, "&f;")),
    ],
)
def test_no_dtd_grows(data: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(Bad, match="has a DTD of its own"):
        parsed(data)
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    "data",
    [
        rss(item(1)) + f"<!DOCTYPE rss [{LAUGHS}]>".encode() + rss(item(2, "&l9;")),
        rss("<a>" * 50_000),
        rss("<item><title>" + "&lt;div&gt;" * 50_000 + "</title></item>"),
        rss("<item>" * 20_000),
        rss("<item><title>" + "&amp;" * 100_000 + "</title></item>"),
        rss("<" * 20_000),
        b"<rss version='2.0'>" + b"&" * 200_000,
        b"<!--" * 100_000,
        b"<rss version='2.0' " + b"a='b' " * 10_000 + b">",
    ],
)
def test_nothing_else_grows(data: bytes) -> None:
    tracemalloc.start()
    try:
        found = parsed(data)
    except Bad:
        found = []
    assert len(found) <= entries.MAX_ENTRIES
    assert all(len(entry.title) <= entries.MAX_TEXT for entry in found)
    assert tracemalloc.get_traced_memory()[1] < 200 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("<![CDATA[<b>bold</b> &amp; <i>more</i>]]>", "bold & more"),
        ("&lt;script&gt;alert(1)&lt;/script&gt;x", "x"),
        ("a\n\n  b\tc", "a b c"),
        ("<![CDATA[a <!-- no --> b]]>", "a b"),
        ("\u202eevil\u2066", "evil"),
        ("x" * 1000, "x" * 299 + "\u2026"),
        ("1 &lt; 2", "1 < 2"),
    ],
)
def test_a_title_is_one_line_of_text(title: str, text: str) -> None:
    assert parsed(rss(item(1, title)))[0].title == text


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("http://x/1", "http://x/1"),
        ("/a?b=c", "https://example.org/a?b=c"),
        ("javascript:alert(1)", ""),
        ("data:text/html,x", ""),
        ("http://x/\n!admin quit", ""),
        ("http://x/" + "y" * 1000, ""),
        ("http://[", ""),
    ],
)
def test_a_link_leads_to_the_web(link: str, shown: str) -> None:
    item = f"<item><guid isPermaLink='false'>1</guid><title>t</title><link>{link}</link></item>"
    assert parsed(rss(item))[0].link == shown


@pytest.mark.parametrize(
    ("encoding", "kind"),
    [
        ("utf-8", ""),
        ("iso-8859-1", ""),
        ("windows-1252", ""),
        ("utf-16", ""),
        ("latin-1", "header"),
    ],
)
def test_encodings(encoding: str, kind: str) -> None:
    text = rss(item(1, "Gr\u00fc\u00dfe")).decode()
    head = "" if kind else f"<?xml version='1.0' encoding='{encoding}'?>"
    data = (head + text).encode(encoding)
    assert parsed(data, f"text/xml; charset={encoding}")[0].title == "Gr\u00fc\u00dfe"


def test_a_name_of_a_dtd_is_no_dtd() -> None:
    head = (
        b'<?xml version="1.0"?>\n<!DOCTYPE rss PUBLIC "-//N//DTD RSS 0.91//EN" "http://x/y.dtd">\n'
    )
    assert len(parsed(head + rss(item(1)))) == 1


def test_entries_with_dates_are_sorted() -> None:
    def dated(day: int) -> str:
        return (
            f"<item><guid>{day}</guid><title>{day}</title>"
            f"<pubDate>Wed, {day} Nov 2026 00:00:00 GMT</pubDate></item>"
        )

    assert [e.title for e in parsed(rss(*map(dated, (11, 25, 18))))] == ["25", "18", "11"]


def test_entries_without_anything() -> None:
    found = parsed(rss("<item/>", "<item><title>x</title></item>", "<item><title>x</title></item>"))
    assert [entry.title for entry in found] == ["", "x", "x"]
    assert found[1].id == found[2].id != found[0].id
