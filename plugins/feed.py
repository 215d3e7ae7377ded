"""RSS and Atom feeds are told to rooms and people.

Rules:
- What was there when a feed was first looked at is not told, but for `backlog`.
- What was told is kept in a file, over restarts and reloads. It is told before it is written down: a
  crash between the two tells it again.
- A feed that fails is asked less and less often, up to once a day. The log has the first failure
  and the end of it; each is counted by name.
- While the stream is offline nothing is asked, so nothing is lost.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from msgspec import Struct

from zxmpp import Plugin, PluginError, StreamError, Table, UserError, command
from zxmpp_plugins.inbound import Bad, jid_of
from zxmpp_plugins.state import StateFile
from zxmpp_plugins.templates import checked
from zxmpp_plugins.texts import tidy

if TYPE_CHECKING:
    from zxmpp_plugins.entries import Entry

__all__ = ["Feed", "FeedConfig", "FeedSettings"]

#: Entries that are remembered of a feed: more than one can have (`entries.MAX_ENTRIES`).
MAX_SEEN = 1000
MAX_DELAY = 86_400.0
#: Seconds over which the first looks after a start are spread.
SPREAD = 10.0
FIELDS = ("feed", "title", "link", "author", "summary")
MAX_CHARS = 3000


class FeedSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.feed.feeds.NAME]``"""

    #: Where it is: http or https.
    url: str
    #: Who is told: JIDs of people, or of rooms that the stream is in.
    to: list[str]
    #: Seconds from one look to the next, 60 at least; a tenth more or less each time.
    every: float = 900.0
    #: The text, with ``$feed $title $link $author $summary``.
    template: str = "$feed: $title\n$link"
    #: Entries that are told at a time, the newest ones.
    max_items: int = 5
    #: How many are told when the feed is first looked at.
    backlog: int = 0
    #: Which stream sends; needed if there are several.
    stream: str = ""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url: {self.url!r} is no address such as https://example.org/feed")
        for to in self.to:
            if jid_of(to) is None:
                raise ValueError(f"to: {to!r} is not a JID such as team@rooms.example.org")
        if not self.to:
            raise ValueError("to: name at least one JID")
        if not 60 <= self.every <= MAX_DELAY:
            raise ValueError("every: a number of seconds from 60 to 86400")
        if self.max_items < 1 or not 0 <= self.backlog <= 100:
            raise ValueError("max_items is 1 or more, backlog from 0 to 100")
        checked(self.template, "template", FIELDS)


class FeedConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.feed]``"""

    #: By name.
    feeds: dict[str, FeedSettings] = {}
    #: Where it is kept what was told: in ``$STATE_DIRECTORY``, or else in the working folder.
    file: str = "feed.json"
    #: Seconds for one look.
    timeout: float = 30.0
    #: The largest feed.
    max_bytes: int = 1_048_576
    #: Who may use ``feed-check``; nobody if empty.
    role: str = ""

    def __post_init__(self) -> None:
        if not self.timeout > 0 or self.max_bytes < 1:
            raise ValueError("timeout and max_bytes must be above 0")


class Kept(Struct):
    """What is known of a feed."""

    url: str
    seen: list[str] = []
    etag: str = ""
    modified: str = ""


class _Follower:
    """What looks at a feed again and again."""

    def __init__(self, plugin: Feed, name: str) -> None:
        self._task = plugin.spawn(plugin._follow(name), name=f"feed {name}")

    def close(self) -> None:
        self._task.cancel()


class Feed(Plugin):
    """Tell what is new in feeds."""

    Config = FeedConfig
    config: FeedConfig

    @classmethod
    def declared(cls, config: FeedConfig) -> Mapping[str, str]:
        more = {"feed-check": config.role} if config.role else {}
        return {**super().declared(config), **more}

    async def start(self) -> None:
        try:
            from zxmpp_plugins import entries, fetch
        except ImportError as error:
            raise PluginError(
                f"plugin {self.instance} needs {error.name}; install it: pip install 'zxmpp[feed]'"
            ) from error
        self._parse, self._fetch = entries.parse, fetch.fetch
        self._file = StateFile(self.config.file, dict[str, Kept], f"[plugins.{self.instance}] file")
        self._kept: dict[str, Kept] = {}
        #: What went wrong at the last looks, and how often.
        self._failing: dict[str, tuple[str, int]] = {}
        for feed in self.config.feeds.values():
            self.stream(feed.stream)  # an unknown name is an error now
        if self.replaces is None:
            self._forget_others(self._file.read() or {})
            await self._file.check(self._kept)
        self._session = fetch.new_session()
        self.own(self._session)
        if self.config.role:
            self.add_command(self.check, "feed-check", role=self.config.role)
        self._looking = {name: asyncio.Lock() for name in self.config.feeds}
        for name in self.config.feeds:
            self.add_inlet(lambda name=name: _Follower(self, name))  # type: ignore[misc]

    def adopt(self, old: Any) -> None:
        """Go on with what the version before has told."""
        self._forget_others(old._kept)
        self._failing = {k: v for k, v in old._failing.items() if k in self.config.feeds}

    def _forget_others(self, kept: Mapping[str, Any]) -> None:
        for name, feed in self.config.feeds.items():
            if (one := kept.get(name)) is not None and one.url == feed.url:
                self._kept[name] = Kept(one.url, one.seen[-MAX_SEEN:], one.etag, one.modified)

    async def _follow(self, name: str) -> None:
        feed = self.config.feeds[name]
        await asyncio.sleep(random.uniform(0, SPREAD))
        while True:
            await self.stream(feed.stream).ready.wait()
            await self.look(name)
            await asyncio.sleep(self.pause(name))

    def pause(self, name: str) -> float:
        """Seconds until the next look."""
        failures = self._failing.get(name, ("", 0))[1]
        delay = self.config.feeds[name].every * 2.0 ** min(failures, 12)
        return min(MAX_DELAY, delay) * random.uniform(0.9, 1.1)

    # -- commands --------------------------------------------------------------------------------

    @command
    def feeds(self) -> Table | str:
        """List the feeds that are followed, and how they are."""
        rows = [
            (name, f"{feed.every:g} s", self._failing.get(name, ("fine", 0))[0]
             if name in self._kept or name in self._failing else "not looked at yet")
            for name, feed in self.config.feeds.items()
        ]  # fmt: skip
        return Table(("feed", "every", "state"), rows) if rows else "No feed is followed."

    async def check(self, name: str) -> str:
        """Look at a feed now.

        name: Its name, as feeds shows it
        """
        if name not in self.config.feeds:
            raise UserError(f"There is no feed {name!r}; feeds lists them.")
        told = await self.look(name)
        reason = self._failing.get(name, ("", 0))[0]
        return f"{name}: {reason}" if reason else f"{name}: {told} new"

    # -- looking ---------------------------------------------------------------------------------

    async def look(self, name: str) -> int:
        """Look at a feed and tell what is new; how much that was."""
        async with self._looking[name]:
            try:
                told = await self._look(name, self.config.feeds[name])
            except Bad as error:
                self._failed(name, error.reason, str(error))
                return 0
            except Exception:
                self._failed(name, "look-failed", "see the log")
                self.log.exception("feed %s can't be read", name)
                return 0
            if self._failing.pop(name, None):
                self.log.info("feed %s is fine again", name)
            return told

    def _failed(self, name: str, reason: str, text: str) -> None:
        self.count(reason)
        before = self._failing.get(name, ("", 0))[1]
        self._failing[name] = (reason, before + 1)
        log = self.log.debug if before else self.log.warning
        log("feed %s: %s: %s (the next failures are counted)", name, reason, text)

    async def _look(self, name: str, feed: FeedSettings) -> int:
        kept = self._kept.get(name)
        known = kept or Kept(feed.url)
        fetched = await self._fetch(
            self._session, feed.url, self.config.timeout, self.config.max_bytes, known.etag,
            known.modified,
        )  # fmt: skip
        if fetched.data is None:
            return 0
        entries = await self.run_blocking(
            self._parse, fetched.data, fetched.content_type, fetched.url
        )
        seen = set(known.seen)
        new = [entry for entry in entries if entry.id not in seen]
        most = feed.max_items if kept else feed.backlog
        # The same turn of the loop tells and remembers: nothing comes between.
        told = self._tell(name, feed, new[:most])
        if kept and len(new) > most:
            self.count("left-out")
            self.log.info("feed %s: of %d new entries %d are told", name, len(new), most)
        ids = dict.fromkeys([*known.seen, *(entry.id for entry in reversed(entries))])
        for entry in reversed(entries):
            ids[entry.id] = ids.pop(entry.id)  # what is still in the feed is forgotten last
        self._kept[name] = Kept(feed.url, list(ids)[-MAX_SEEN:], fetched.etag, fetched.modified)
        await self._keep()
        return told

    def _tell(self, name: str, feed: FeedSettings, entries: list[Entry]) -> int:
        template = checked(feed.template, "template")
        for entry in reversed(entries):
            fields = {key: getattr(entry, key) for key in FIELDS if key != "feed"}
            text = tidy(template.substitute(fields, feed=name), MAX_CHARS)
            for to in feed.to:
                try:
                    self.say(to, text, stream=feed.stream)
                except StreamError as error:
                    self.count("not-told")
                    self.log.warning("feed %s: %s is not told: %s", name, to, error)
            self.count("told")
        return len(entries)

    async def _keep(self) -> None:
        try:
            await self._file.write(self._kept)
        except OSError as error:
            self.count("not-kept")
            self.log.error("what was told can't be written to %s: %s", self._file.path, error)
