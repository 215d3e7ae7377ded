"""Files through the server's upload service (XEP-0363).

Rules:
- The service is looked for once a session (XEP-0030), unless the configuration names it. A file's
  size is compared with what the service takes before anything is asked for.
- A slot is an address that the server chose: it is used with TLS only. A server on this machine may
  name this machine without; any other one could mean what listens here for us alone. No
  redirect is followed, and of its headers those that the XEP allows are sent.
- Each step has a bound in time; a few uploads run at once, further ones wait for their turn.
- aiohttp does the HTTP. It is imported when the first file is sent.
"""

from __future__ import annotations

import asyncio
import mimetypes
import re
import ssl
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct
from slixmpp.exceptions import IqError, IqTimeout
from slixmpp.jid import JID, InvalidJID

from zxmpp.errors import StreamError
from zxmpp.streams.settings import is_local

__all__ = ["Uploads", "safe_name"]

UPLOAD = "urn:xmpp:http:upload:0"
#: Seconds for one answer of the server, and for one upload.
ASK_SECONDS, PUT_SECONDS = 15.0, 300.0
#: Entities of the server that are asked whether they take files.
MAX_ASKED = 50
#: Uploads at the same time.
AT_ONCE = 4
#: Characters of a file's name.
MAX_NAME = 100
#: Digits of the largest size that a service may announce.
MAX_DIGITS = 18
#: A media type, with its parameters.
_MEDIA_TYPE = re.compile(r"[!-.0-~]{1,100}/[!-~]{1,100}(?: ?;[ -~]{1,100})?")
#: The headers that a slot may ask for (XEP-0363, 5).
_HEADERS = frozenset({"authorization", "cookie", "expires"})


class _Service(Struct, frozen=True):
    """Who takes files, of at most how many bytes (0: it does not say)."""

    jid: str
    max_bytes: int


class _Slot(Struct, frozen=True):
    put: str
    get: str
    headers: dict[str, str]


def safe_name(name: str) -> str:
    """`name` as the name of a file and nothing else: no folders, no control characters."""
    last = re.split(r"[/\\]", name)[-1]
    last = "".join(char for char in last if char.isprintable()).strip().lstrip(".")
    if len(last) > MAX_NAME:
        stem, dot, suffix = last.rpartition(".")
        short = dot and len(suffix) < 10
        last = f"{stem[: MAX_NAME - 1 - len(suffix)]}.{suffix}" if short else last[:MAX_NAME]
    return last or "file"


class Uploads:
    """Uploads of the stream `name`. `service` is the JID of the upload service, if it is known;
    `ca_file` has certificates to trust besides the system's. `speaker` is who asks, on a component.
    `local`: the server is on this machine."""

    def __init__(
        self, name: str, xmpp: Any, speaker: Callable[[], str], service: str = "",
        ca_file: str = "", local: bool = False,
    ) -> None:  # fmt: skip
        self._name = name
        self._xmpp = xmpp
        self._speaker = speaker
        self._given = service
        self._ca_file = ca_file
        self._local = local
        self._service: _Service | None = None
        self._turns = asyncio.Semaphore(AT_ONCE)

    def forget(self) -> None:
        """There is a new session: look for the service anew."""
        self._service = None

    async def upload(self, data: bytes | Path, name: str, media_type: str) -> str:
        """See `BaseStream.upload`."""
        try:
            import aiohttp  # noqa: F401
        except ImportError as error:
            raise self._error("it needs aiohttp: pip install 'zxmpp[web]'") from error
        name = safe_name(name)
        media_type = media_type or mimetypes.guess_type(name)[0] or "application/octet-stream"
        if not _MEDIA_TYPE.fullmatch(media_type):
            raise self._error(f"{media_type[:100]!r} is no media type; write one as image/png")
        try:
            async with self._turns, asyncio.timeout(PUT_SECONDS):
                if isinstance(data, bytes):
                    return await self._upload(data, len(data), name, media_type)
                with await asyncio.to_thread(data.open, "rb") as file:
                    size = (await asyncio.to_thread(data.stat)).st_size
                    return await self._upload(file, size, name, media_type)
        except TimeoutError as error:
            raise self._error(f"it took more than {PUT_SECONDS:g} s; try again later") from error
        except OSError as error:
            raise self._error(f"{error}; check the path and the network") from error

    async def _upload(self, data: Any, size: int, name: str, media_type: str) -> str:
        service = self._service or await self._find()
        self._service = service
        if not size:
            raise self._error(f"{name} is empty; send a file that is not")
        if 0 < service.max_bytes < size:
            raise self._error(
                f"{name} has {size} bytes, and {service.jid} takes {service.max_bytes} at most; "
                f"send a smaller file"
            )
        slot = await self._ask_for_slot(service.jid, name, size, media_type)
        await self._put(slot, data, size, media_type)
        return slot.get

    def _error(self, why: str) -> StreamError:
        return StreamError(f"stream {self._name!r} can't send a file: {why}")

    # -- the service ----------------------------------------------------------------------------

    async def _find(self) -> _Service:
        if self._given:
            found = await self._ask(self._given)
            if found is None:
                raise self._error(f"{self._given} is no upload service; check upload_service")
            return found
        own = self._xmpp.boundjid.domain
        # A component's server is, as a rule, the domain above its own.
        domain = (own.partition(".")[2] or own) if self._xmpp.is_component else own
        disco = self._xmpp.plugin["xep_0030"]
        try:
            answer = await disco.get_items(jid=JID(domain), local=False, **self._how())
        except (IqError, IqTimeout) as error:
            raise self._error(
                f"{domain} does not say which services it has; name one in upload_service"
            ) from error
        items = [str(item[0]) for item in answer["disco_items"]["items"]][:MAX_ASKED]
        for found in await asyncio.gather(*(self._ask(jid) for jid in (domain, *items))):
            if found is not None:
                return found
        raise self._error(
            f"{domain} has no upload service (XEP-0363); switch one on, or name one in "
            f"upload_service"
        )

    def _how(self) -> dict[str, Any]:
        from_ = {"ifrom": JID(self._speaker())} if self._xmpp.is_component else {}
        return {"timeout": ASK_SECONDS, **from_}

    async def _ask(self, jid: str) -> _Service | None:
        """Whether `jid` takes files."""
        disco = self._xmpp.plugin["xep_0030"]
        try:
            answer = await disco.get_info(jid=JID(jid), local=False, **self._how())
        except (IqError, IqTimeout, InvalidJID):
            return None
        info = answer["disco_info"]
        if UPLOAD not in info["features"]:
            return None
        limit = 0
        for field in info.xml.iter("{jabber:x:data}field"):
            if field.get("var") == "max-file-size":
                text = field.findtext("{jabber:x:data}value", "").strip()
                limit = int(text) if text.isdecimal() and len(text) <= MAX_DIGITS else 0
        return _Service(jid, limit)

    # -- the slot -------------------------------------------------------------------------------

    async def _ask_for_slot(self, service: str, name: str, size: int, media_type: str) -> _Slot:
        iq = self._xmpp.make_iq_get(ito=JID(service))
        if self._xmpp.is_component:
            iq["from"] = JID(self._speaker())
        attributes = {"filename": name, "size": str(size), "content-type": media_type}
        iq.xml.append(ET.Element(f"{{{UPLOAD}}}request", attributes))
        try:
            answer = await iq.send(timeout=ASK_SECONDS)
        except IqTimeout as error:
            raise self._error(f"{service} does not answer; try again later") from error
        except IqError as error:
            said = f"{error.condition} {error.text or ''}".rstrip()
            raise self._error(f"{service} refuses {name}, {size} bytes: {said}") from error
        put = answer.xml.find(f"{{{UPLOAD}}}slot/{{{UPLOAD}}}put")
        get = answer.xml.find(f"{{{UPLOAD}}}slot/{{{UPLOAD}}}get")
        if put is None or get is None:
            raise self._error(f"{service} gave no slot for {name}; see the server's log")
        headers = {
            header.get("name", ""): re.sub(r"[\r\n]", "", header.text or "")
            for header in put.iter(f"{{{UPLOAD}}}header")
            if header.get("name", "").lower() in _HEADERS
        }
        slot = _Slot(put.get("url", ""), get.get("url", ""), headers)
        for url in (slot.put, slot.get):
            if not _is_safe(url, self._local):
                raise self._error(f"{service} gave the address {url!r}, which has no TLS or is none; "
                                  f"set up https there")  # fmt: skip
        return slot

    async def _put(self, slot: _Slot, data: Any, size: int, media_type: str) -> None:
        import aiohttp

        headers = {**slot.headers, "Content-Type": media_type, "Content-Length": str(size)}
        tls: Any = True
        if self._ca_file:
            tls = await asyncio.to_thread(_context, self._ca_file)
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.put(
                    slot.put, data=data, headers=headers, allow_redirects=False, ssl=tls
                ) as answer,
            ):
                status = answer.status
        except (aiohttp.ClientError, ValueError) as error:
            raise self._error(f"{slot.put} can't be reached: {error}; check the server") from error
        if not 200 <= status < 300:
            raise self._error(f"{slot.put} answered {status}; see the server's log")


def _is_safe(url: str, local: bool) -> bool:
    """Whether `url` is one to go to, and to show. `local`: also without TLS, on this machine."""
    if not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    here = local and parts.scheme == "http" and is_local(parts.hostname or "")
    return bool(parts.hostname) and (parts.scheme == "https" or here)


def _context(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(ca_file)
    return context
