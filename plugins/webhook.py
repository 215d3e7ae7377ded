"""HTTP requests become Events, and chat messages: a third way in beside streams and sockets.

Rules:
- A request has to have its hook's secret before anything looks at it. An unknown path and a wrong
  secret are answered alike.
- Each is a `RequestEvent` in the one pipeline: any plugin may take one, with ``@on.request("NAME")``.
  What the handler returns is the answer; what it raises, and a full lane, is an error by its
  condition.
- What is delivered twice is handled once, as long as the first went well.
- What is wrong is counted by name; the first of each kind is in the log.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from zxmpp import Failure, Plugin, PluginError, RequestEvent, StreamError, on
from zxmpp_plugins.hooks import SECRET_HEADERS, Hook, admits, read_secret
from zxmpp_plugins.inbound import OK, Bad
from zxmpp_plugins.shapes import SHAPES
from zxmpp_plugins.templates import Fields, checked
from zxmpp_plugins.texts import shown, tidy

if TYPE_CHECKING:
    from zxmpp_plugins.door import Reply, Request

__all__ = ["Exchange", "Webhook", "WebhookConfig", "text_of"]

#: Deliveries that are remembered, of all hooks.
MAX_DELIVERIES = 4096
#: Where services name a delivery.
_DELIVERY = ("x-github-delivery", "x-gitlab-event-uuid", "idempotency-key")
_STATUS = {
    "bad-request": 400, "jid-malformed": 400, "not-authorized": 401, "item-not-found": 404,
    "conflict": 409, "not-acceptable": 415, "policy-violation": 429, "internal-server-error": 500,
    "feature-not-implemented": 501, "remote-server-timeout": 504,
}  # fmt: skip
_BY_KIND = {"auth": 403, "wait": 503}


class WebhookConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.webhook]``"""

    #: The address and port. For the world, put a web server with TLS before it.
    listen: str = "127.0.0.1:8080"
    #: By name.
    hooks: dict[str, Hook] = {}
    #: The largest body.
    max_bytes: int = 1_048_576
    #: Requests at the same time.
    max_requests: int = 50
    #: Seconds in which a request has to be there, whole.
    read_seconds: float = 10.0
    #: Seconds until who waits for an answer is told that the work goes on.
    answer_seconds: float = 9.0
    #: Characters of what is said.
    max_chars: int = 3000

    def __post_init__(self) -> None:
        host, _, port = self.listen.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"listen: {self.listen!r} is no address such as 127.0.0.1:8080")
        for key in ("max_bytes", "max_requests", "read_seconds", "answer_seconds", "max_chars"):
            if not getattr(self, key) > 0:
                raise ValueError(f"{key} must be above 0")
        paths: dict[str, str] = {}
        for name, hook in self.hooks.items():
            if (other := paths.setdefault(hook.path or f"/{name}", name)) != name:
                raise ValueError(f"hooks.{name} has the path of hooks.{other}; give it another")


class Exchange:
    """The source of one request: its answer resolves `reply`. See `zxmpp.Source`."""

    pausable = False
    owes_answer = True

    def __init__(self, name: str) -> None:
        self.name = name
        self._loop = asyncio.get_running_loop()
        self.reply: asyncio.Future[Any] = self._loop.create_future()

    def pause(self) -> None: ...
    def resume(self) -> None: ...

    def answer(self, event: Any, reply: Any) -> None:
        """The first of several replies is the answer; after None another handler may have one."""
        if reply is None:
            self._loop.call_soon(self._settle, None)
            return
        try:
            msgspec.json.encode(reply)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise TypeError(
                f"a request can't be answered with {type(reply).__name__} ({error}); return a str "
                f"or what JSON has"
            ) from None
        self._settle(reply)

    def fail(self, event: Any, failure: Failure) -> bool:
        return self._settle(failure)

    def _settle(self, reply: Any) -> bool:
        if self.reply.done():
            return False
        self.reply.set_result(reply)
        return True


class Webhook(Plugin):
    """Take HTTP requests, and tell of them."""

    Config = WebhookConfig
    config: WebhookConfig

    async def start(self) -> None:
        self._known: set[str] = set()
        self._deliveries: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._paths: dict[str, tuple[str, Hook, bytes]] = {}
        for name, hook in self.config.hooks.items():
            where = f"[plugins.{self.instance}.hooks.{name}]"
            self._paths[hook.path or f"/{name}"] = (name, hook, read_secret(where, hook))
            if hook.to:
                self.stream(hook.stream)  # an unknown name is an error now
                template = checked(hook.template, "template") if hook.template else None
                self.add_handler(on.request(name), partial(self._tell, hook, template))
        await self._open()

    async def _open(self) -> None:
        try:
            from zxmpp_plugins import door
        except ImportError as error:
            raise PluginError(
                f"plugin {self.instance} needs {error.name}; install it: pip install 'zxmpp[web]'"
            ) from error
        self._error, self._reply = door.error, door.Reply
        host, _, port = self.config.listen.rpartition(":")
        # At a reload, the version before and this one take from the same queue: nobody is lost.
        before: Any = self.replaces
        try:
            if before is not None and before.config.listen == self.config.listen:
                sock = before.door.sock.dup()
            else:
                sock = await door.listener(host.strip("[]"), int(port))
        except OSError as error:
            raise PluginError(
                f"[plugins.{self.instance}] listen: {self.config.listen} can't be opened: "
                f"{error.strerror or error}; name an address of this host and a free port"
            ) from error
        self.door = door.Door(
            sock, self._serve, self._count, max_bytes=self.config.max_bytes,
            max_requests=self.config.max_requests, read_seconds=self.config.read_seconds,
        )  # fmt: skip
        self.own(self.door)
        await self.door.open()
        self.log.info("listening on %s", self.address)

    def adopt(self, old: Any) -> None:
        """Go on with what the version before has delivered."""
        self._deliveries = old._deliveries

    @property
    def address(self) -> str:
        """Where it listens, as ``127.0.0.1:8080``."""
        host, port = self.door.sock.getsockname()[:2]
        return f"{host}:{port}"

    def _count(self, reason: str, about: str = "") -> None:
        self.count(reason)
        log = self.log.debug if reason in self._known else self.log.warning
        self._known.add(reason)
        log("a request is dropped as %s%s (the next of this kind are counted)", reason,
            about and f": {about}")  # fmt: skip

    # -- from a request to an Event and back -----------------------------------------------------

    async def _serve(self, request: Request) -> Reply:
        if request.method != "POST":
            return self._error(405, "not-allowed", "send a POST")
        name, hook, secret = self._paths.get(request.path, ("", Hook(open=True), b""))
        if not name or not admits(hook, secret, request.headers, request.body):
            self._count("bad-secret" if name else "no-hook", f"from {request.remote}")
            return self._error(
                404, "item-not-found", "there is no such hook, or its secret is wrong"
            )
        delivery = next((value for key in _DELIVERY if (value := request.headers.get(key))), "")
        key = (name, delivery[:200])
        if delivery and key in self._deliveries:
            self.count("duplicate")
            return self._reply(200, {"ok": True, "duplicate": True})
        exchange = Exchange(self.instance)
        headers = {k: v for k, v in request.headers.items() if k not in SECRET_HEADERS}
        event = RequestEvent(
            exchange, ("request", ("request", name)), name, (self.instance, name), name, headers,
            request.body, request.remote, request.query,
        )  # fmt: skip
        if not self.feed(event):
            self._count("not-handled", f"hook {name}: no plugin has @on.request({name!r})")
            return self._error(404, "item-not-found", "nobody handles this hook")
        if delivery:
            self._deliveries[key] = None
            if len(self._deliveries) > MAX_DELIVERIES:
                self._deliveries.popitem(last=False)
        await asyncio.wait({exchange.reply}, timeout=self.config.answer_seconds)
        if not exchange.reply.done():
            # It was taken, and is worked on: whether it ends well nobody hears.
            return self._reply(202)
        if isinstance(failure := exchange.reply.result(), Failure):
            self._deliveries.pop(key, None)
            status = _STATUS.get(failure.condition, _BY_KIND.get(failure.kind, 403))
            return self._error(status, failure.condition, failure.text, failure.reference)
        return self._reply(202 if failure is None else 200, failure)

    # -- from an Event to a message --------------------------------------------------------------

    def _tell(self, hook: Hook, template: Fields | None, event: RequestEvent) -> Any:
        try:
            text = tidy(text_of(event, hook, template), self.config.max_chars)
            if not text:
                self.count("nothing-to-say")
                return OK
            self._say(hook, text)
        except Bad as error:
            self._count(error.reason, f"hook {event.hook}: {error}")
            raise
        self.count("told")
        return OK

    def _say(self, hook: Hook, text: str) -> None:
        problems = []
        for jid in hook.to:
            try:
                self.say(jid, text, stream=hook.stream)
            except StreamError as error:
                problems.append(f"{jid}: {error}")
        if problems:
            raise Bad("not-sent", "; ".join(problems), "recipient-unavailable", "wait")


def text_of(event: RequestEvent, hook: Hook, template: Fields | None) -> str:
    """What is to be said of a request. `Bad` says what is wrong with it."""
    kind = event.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "text/plain" and hook.shape == "generic":
        fields = {"text": event.body.decode("utf-8", "replace")}
    elif kind == "application/json" or kind.endswith("+json"):
        try:
            data = msgspec.json.decode(event.body, type=dict[str, Any])
        except (ValueError, RecursionError) as error:
            raise Bad("bad-json", f"the body is not a JSON object: {error}; send one") from None
        shape = SHAPES.get(hook.shape)
        if shape is None:
            fields = {name: shown(value) for name, value in data.items()}
        elif not (fields := shape(data, event.headers))["text"]:
            return ""
    else:
        wanted = "application/json" + (" or text/plain" if hook.shape == "generic" else "")
        raise Bad("bad-type", f"the content type is {kind or 'missing'!r}; send {wanted}",
                  "not-acceptable")  # fmt: skip
    try:
        if template is not None:
            return template.substitute(fields)
        return fields["body" if hook.shape == "generic" and "body" in fields else "text"]
    except KeyError as error:
        raise Bad("missing-field", f"the request has no {error.args[0]!r}; send it") from None
