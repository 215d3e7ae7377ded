"""The webhook plugin over real connections: who gets in, what is said, what strangers can not do."""

from __future__ import annotations

import asyncio
import hmac
import json
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from zxmpp import ConfigError, Plugin, PluginError, Refused, RequestEvent, StreamError, on
from zxmpp.testing.bot import TestBot

from .conftest import COMPONENT, ROOM, counts, said, until

SECRET = "s3cret"
GITHUB = f'to = ["{ROOM}"]\nshape = "github"\nsecret_env = "HOOK_SECRET"'
OPEN = f'to = ["{ROOM}"]\nopen = true'
NOBODY = "open = true"

Post = Callable[..., Awaitable[tuple[int, Any]]]


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)


def config(hook: str, more: str = "") -> str:
    return (
        f'{COMPONENT}\n[plugins.webhook]\nlisten = "127.0.0.1:0"\n{more}\n'
        f"[plugins.webhook.hooks.build]\n{hook}\n"
    )


@asynccontextmanager
async def serving(
    hook: str, more: str = "", plugins: tuple[type[Plugin], ...] = ()
) -> AsyncIterator[tuple[TestBot, Post]]:
    async with (
        TestBot(config(hook, more), plugins=plugins) as bot,
        aiohttp.ClientSession() as session,
    ):
        base = f"http://{bot.app.plugins.get('webhook').address}"

        async def post(
            body: Any, path: str = "/build", method: str = "POST", **headers: str
        ) -> tuple[int, Any]:
            if not isinstance(body, bytes):
                body = json.dumps(body).encode()
            sent = {"Content-Type": "application/json"}
            sent |= {name.replace("_", "-"): value for name, value in headers.items()}
            async with session.request(method, base + path, data=body, headers=sent) as response:
                text = await response.text()
                is_json = response.content_type == "application/json"
                return response.status, json.loads(text) if is_json else text

        yield bot, post


def signed(body: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, "sha256").hexdigest()


async def raw(bot: Any, data: bytes, end: bool = False) -> bytes:
    """What comes back on a connection over which `data` was sent, until it is closed."""
    host, port = bot.app.plugins.get("webhook").address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    if end:
        writer.write_eof()
    async with asyncio.timeout(10):
        try:
            answer = await reader.read()
        except ConnectionError:
            answer = b""
    writer.close()
    return answer


# -- what is said ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hook", "body", "headers", "text"),
    [
        ("", {"text": "disk is full"}, {}, "disk is full"),
        ("", {"body": "b", "text": "t"}, {}, "b"),
        ('template = "$host: $n"', {"host": "db1", "n": [1, None]}, {}, "db1: [1,null]"),
        ("", b"disk is full", {"Content_Type": "text/plain; charset=utf-8"}, "disk is full"),
        ('template = "* $text"', b"full", {"Content_Type": "text/plain"}, "* full"),
        ("", {"text": "a\x00b\x1b[31m\u202ec\u2028d\r\ne\x85f"}, {}, "ab[31mc\nd\ne\nf"),
        ('template = "$text"', {"text": "$host {0.__class__} %s"}, {}, "$host {0.__class__} %s"),
    ],
)  # fmt: skip
async def test_what_is_said(hook: str, body: Any, headers: dict[str, str], text: str) -> None:
    async with serving(f"{OPEN}\n{hook}") as (bot, post):
        assert await post(body, **headers) == (200, {"ok": True})
        assert await said(bot) == [(ROOM, text)]
        assert counts(bot, "webhook") == {"told": 1}


async def test_a_long_text_is_cut() -> None:
    async with serving(OPEN, "max_chars = 10") as (bot, post):
        await post({"text": "x" * 100_000})
        assert await said(bot) == [(ROOM, "xxxxxxxxx\u2026")]


async def test_who_can_not_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(OPEN) as (bot, post):

        def fail(*_: object, **__: object) -> None:
            raise StreamError("out of order")

        monkeypatch.setattr(bot.app.stream(), "say", fail)
        status, answer = await post({"text": "x"})
        assert (status, answer["error"]["text"]) == (503, f"{ROOM}: out of order")
        assert counts(bot, "webhook")["not-sent"] == 1


# -- who gets in ----------------------------------------------------------------------------------


PROOFS = {
    "generic": ["Authorization"],
    "alertmanager": ["Authorization"],
    "gitlab": ["X_Gitlab_Token"],
}


@pytest.mark.parametrize(
    ("shape", "headers"),
    [
        ("generic", {"Authorization": f"Bearer {SECRET}"}),
        ("generic", {"Authorization": "Basic " + b64encode(f"ci:{SECRET}".encode()).decode()}),
        ("generic", {"X_Hub_Signature_256": "right"}),
        ("github", {"X_Hub_Signature_256": "right"}),
        ("gitlab", {"X_Gitlab_Token": SECRET}),
        ("alertmanager", {"Authorization": f"bearer {SECRET}"}),
    ],
)
async def test_who_has_the_secret_gets_in(shape: str, headers: dict[str, str]) -> None:
    hook = f'to = ["{ROOM}"]\nshape = "{shape}"\nsecret_env = "HOOK_SECRET"'
    body = json.dumps({"text": "x", "alerts": [{}], "object_kind": "y"}).encode()
    headers = {k: signed(body) if v == "right" else v for k, v in headers.items()}
    async with serving(hook) as (bot, post):
        assert (await post(body, **headers))[0] == 200
        assert len(await said(bot)) == 1


@pytest.mark.parametrize(
    ("shape", "headers"),
    [
        ("generic", {}),
        ("generic", {"Authorization": "Bearer "}),
        ("generic", {"Authorization": SECRET}),
        ("generic", {"Authorization": "Basic !!!"}),
        ("generic", {"Authorization": f"Basic {SECRET}"}),
        ("generic", {"Authorization": "Bearer s3cret\u00e9"}),
        ("generic", {"X_Gitlab_Token": SECRET}),
        ("github", {"Authorization": f"Bearer {SECRET}"}),
        ("github", {"X_Hub_Signature_256": signed(b"{}", "")}),
        ("github", {"X_Hub_Signature_256": signed(b"{} ")}),
        ("github", {"X_Hub_Signature_256": signed(b"{}")[7:]}),
        ("github", {"X_Hub_Signature": "sha1=" + hmac.new(b"s3cret", b"{}", "sha1").hexdigest()}),
        ("gitlab", {"X_Gitlab_Token": SECRET + "x"}),
        ("alertmanager", {"X_Hub_Signature_256": signed(b"{}")}),
    ],
)
async def test_nobody_else(shape: str, headers: dict[str, str]) -> None:
    hook = f'to = ["{ROOM}"]\nshape = "{shape}"\nsecret_env = "HOOK_SECRET"'
    async with serving(hook) as (bot, post):
        refused = await post(b"{}", **headers)
        assert refused[0] == 404
        # A hook that is not there answers the same.
        assert refused == await post(b"{}", path="/other", **headers)
        assert await said(bot) == []
        assert counts(bot, "webhook") == {"bad-secret": 1, "no-hook": 1}


async def test_a_delivery_is_handled_once(caplog: pytest.LogCaptureFixture) -> None:
    body = b'{"action": "opened", "issue": {"title": "It burns", "number": 7}}'
    headers = {"X_Hub_Signature_256": signed(body), "X_GitHub_Event": "issues"}
    async with serving(GITHUB) as (bot, post):
        for delivery in ("one", "one", "two"):
            assert (await post(body, X_GitHub_Delivery=delivery, **headers))[0] == 200
        assert len(await said(bot)) == 2
        assert counts(bot, "webhook") == {"told": 2, "duplicate": 1}


async def test_a_delivery_that_failed_may_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(OPEN) as (bot, post):
        with monkeypatch.context() as patch:
            patch.setattr(type(bot.app.stream()), "say", None)
            assert (await post({"text": "x"}, Idempotency_Key="1"))[0] == 500
        assert await post({"text": "x"}, Idempotency_Key="1") == (200, {"ok": True})


# -- what is wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason"),
    [
        (b"", {}, 400, "bad-json"),
        (b"{", {}, 400, "bad-json"),
        (b"[]", {}, 400, "bad-json"),
        (b"[" * 100_000, {}, 400, "bad-json"),
        (b'{"text":' * 30_000, {}, 400, "bad-json"),
        (b'{"text": "\xff"}', {}, 400, "bad-json"),
        (b'{"text": NaN}', {}, 400, "bad-json"),
        ({"x": 1}, {}, 400, "missing-field"),
        (b"text=x", {"Content_Type": "application/x-www-form-urlencoded"}, 415, "bad-type"),
        (b"x" * 300_001, {}, 413, "too-big"),
        (b"x", {"Content_Encoding": "gzip"}, 415, "compressed"),
    ],
)
async def test_a_bad_request_gets_an_error_and_a_count(
    body: Any, headers: dict[str, str], status: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(OPEN, "max_bytes = 300_000") as (bot, post):
        for _ in range(2):
            got, answer = await post(body, **headers)
            assert got == status
            assert answer["error"]["text"]
        assert await said(bot) == []
        assert counts(bot, "webhook")[reason] == 2
        assert caplog.text.count(f"is dropped as {reason}") == 1
        assert "Traceback" not in caplog.text
        assert await post({"text": "full"}) == (200, {"ok": True})


async def test_only_posts() -> None:
    async with serving(OPEN) as (bot, post):
        for method in ("GET", "PUT", "DELETE", "OPTIONS"):
            assert (await post(b"", method=method))[0] == 405
        head = await raw(bot, b"HEAD /build HTTP/1.1\r\nHost: x\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 405")


async def test_an_endless_body_ends_at_the_bound() -> None:
    async with serving(OPEN, "max_bytes = 1000") as (bot, post):

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 1000
                await asyncio.sleep(0)

        async with aiohttp.ClientSession() as session:
            url = f"http://{bot.app.plugins.get('webhook').address}/build"
            with pytest.raises(aiohttp.ClientError):
                async with session.post(url, data=endless()) as response:
                    assert response.status == 413
                    raise aiohttp.ClientConnectionError
        assert counts(bot, "webhook") == {"too-big": 1}
        assert await post({"text": "full"}) == (200, {"ok": True})


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 100 + b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /build HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /build HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"POST /build HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /build HTTP/1.1\r\nHost: x\r\n" + b"A: " + b"x" * 100_000 + b"\r\n\r\n",
        b"POST /build HTTP/1.1\r\n" + b"A: b\r\n" * 10_000 + b"\r\n",
        b"POST /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
    ],
)
async def test_no_http_at_all(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(OPEN) as (bot, post):
        answer = await raw(bot, data)
        assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4"))
        assert "Traceback" not in caplog.text
        assert await post({"text": "full"}) == (200, {"ok": True})
        assert len(await said(bot)) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"POST /build HTTP/1.1\r\nHost: x\r\n",
        b"POST /build HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
    ],
)
async def test_a_slow_request_is_cut_off(data: bytes) -> None:
    async with serving(OPEN, "read_seconds = 0.05") as (bot, _):
        await raw(bot, data)
        assert counts(bot, "webhook") == {"too-slow": 1}


async def test_half_a_request_is_counted() -> None:
    async with serving(OPEN) as (bot, _):
        head = b"POST /build HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        await raw(bot, head + b"Content-Length: 100\r\n\r\n{", end=True)
        await until(lambda: counts(bot, "webhook"))
        assert counts(bot, "webhook") == {"cut-off": 1}
        assert await said(bot) == []


async def test_so_many_at_a_time_and_no_more() -> None:
    async with serving(OPEN, "max_requests = 2") as (bot, post):
        host, port = bot.app.plugins.get("webhook").address.split(":")
        idle = [await asyncio.open_connection(host, int(port)) for _ in range(2)]
        await until(lambda: len(bot.app.plugins.get("webhook").door._http.connections) == 2)
        answer = await raw(bot, b"")
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"Retry-After: 10" in answer
        assert counts(bot, "webhook") == {"too-many": 1}
        for _, writer in idle:
            writer.close()
        await until(lambda: not bot.app.plugins.get("webhook").door._http.connections)
        assert await post({"text": "full"}) == (200, {"ok": True})


# -- other plugins --------------------------------------------------------------------------------


class Deploy(Plugin):
    """Handles the hook in all ways there are."""

    async def start(self) -> None:
        self.seen: list[RequestEvent] = []
        self.go_on = asyncio.Event()

    @on.request("build")
    async def deploy(self, event: RequestEvent) -> Any:
        self.seen.append(event)
        match event.body:
            case b"text":
                return "done"
            case b"json":
                return {"version": [1, 2]}
            case b"none":
                return None
            case b"refuse":
                raise Refused("not on a Friday", "policy-violation", "wait")
            case b"forbid":
                raise PermissionError
            case b"late":
                await self.go_on.wait()
                return None
            case b"object":
                return object()
        raise RuntimeError("secret of the house")


@pytest.mark.parametrize(
    ("body", "status", "answer"),
    [
        (b"text", 200, "done"),
        (b"json", 200, {"version": [1, 2]}),
        (b"none", 202, ""),
        (b"refuse", 429, "not on a Friday"),
        (b"forbid", 403, "You may not do that."),
    ],
)
async def test_another_plugin_answers(body: bytes, status: int, answer: Any) -> None:
    async with serving(NOBODY, plugins=(Deploy,)) as (_, post):
        got, content = await post(body)
        assert got == status
        assert (content["error"]["text"] if status > 300 else content) == answer


@pytest.mark.parametrize("body", [b"boom", b"object"])
async def test_a_fault_gets_a_reference_and_no_word_of_it(
    body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(NOBODY, plugins=(Deploy,)) as (_, post):
        status, answer = await post(body)
        assert status == 500
        assert "house" not in json.dumps(answer)
        assert answer["error"]["reference"] in caplog.text


async def test_what_a_handler_gets_to_see() -> None:
    hook = 'secret_env = "HOOK_SECRET"'
    async with serving(hook, plugins=(Deploy,)) as (bot, post):
        await post(b"none", path="/build?a=1&b=%20", Authorization=f"Bearer {SECRET}", X_Thing="7")
        (event,) = bot.app.plugins.get("deploy").seen
        assert (event.hook, event.sender, event.body) == ("build", "build", b"none")
        assert event.query == {"a": "1", "b": " "}
        assert event.headers["x-thing"] == "7"
        assert event.remote == "127.0.0.1"
        assert SECRET not in repr(event)


async def test_work_that_takes_long_goes_on() -> None:
    async with serving(NOBODY, "answer_seconds = 0.05", (Deploy,)) as (bot, post):
        assert await post(b"late") == (202, "")
        assert bot.app.pipeline.in_flight == 1
        bot.app.plugins.get("deploy").go_on.set()
        await bot.settle()
        assert bot.app.pipeline.in_flight == 0


async def test_nobody_handles_it() -> None:
    async with serving(NOBODY) as (bot, post):
        status, answer = await post(b"x")
        assert (status, answer["error"]["text"]) == (404, "nobody handles this hook")
        assert counts(bot, "webhook") == {"not-handled": 1}


async def test_a_full_lane_says_come_back() -> None:
    more = "answer_seconds = 30\n[pipeline]\nlane_limit = 1"
    async with serving(NOBODY, more, (Deploy,)) as (bot, post):
        first = [asyncio.ensure_future(post(b"late"))]
        await until(lambda: bot.app.plugins.get("deploy").seen)
        first.append(asyncio.ensure_future(post(b"late")))
        await until(lambda: bot.app.pipeline.in_flight == 2)
        host = bot.app.plugins.get("webhook").address
        head = f"POST /build HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\n\r\nx".encode()
        answer = await raw(bot, head)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"Retry-After: 10" in answer
        bot.app.plugins.get("deploy").go_on.set()
        assert await asyncio.gather(*first) == [(202, ""), (202, "")]


async def test_a_bot_that_stops_answers_what_it_took() -> None:
    async with serving(NOBODY, plugins=(Deploy,)) as (bot, post):
        waiting = asyncio.ensure_future(post(b"late"))
        await until(lambda: bot.app.pipeline.in_flight == 1)
        stop = asyncio.ensure_future(bot.app.stop(drain=5))
        await until(lambda: bot.app.pipeline.draining)
        status, answer = await post(b"text")
        assert (status, answer["error"]["condition"]) == (503, "service-unavailable")
        bot.app.plugins.get("deploy").go_on.set()
        await stop
        assert await waiting == (202, "")
        with pytest.raises(aiohttp.ClientConnectionError):
            await post(b"text")


async def test_a_reload_loses_nobody() -> None:
    async with serving(OPEN) as (bot, post):
        await post({"text": "x"}, Idempotency_Key="1")
        address = bot.app.plugins.get("webhook").address
        posts = [asyncio.ensure_future(post({"text": str(n)})) for n in range(20)]
        assert await bot.app.plugins.reload("webhook") == ["webhook"]
        posts += [asyncio.ensure_future(post({"text": str(n)})) for n in range(20, 40)]
        assert {status for status, _ in await asyncio.gather(*posts)} == {200}
        await bot.app.plugins.retired()
        assert bot.app.plugins.get("webhook").address == address
        assert await post({"text": "x"}, Idempotency_Key="1") == (
            200, {"ok": True, "duplicate": True},
        )  # fmt: skip
        assert sorted(int(text) for _, text in await said(bot) if text != "x") == [*range(40)]


# -- configuration --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hook", "says"),
    [
        (f'to = ["{ROOM}"]', "name its secret by secret_env or secret_file, or .* open = true"),
        ('open = true\nsecret_env = "X"', "one of both"),
        ('secret_env = "X"\nsecret_file = "y"', "exclude each other"),
        ('open = true\nto = ["a b@c"]', "'a b@c' is not a JID"),
        ('open = true\npath = "build"', "'build' is no path"),
        ('open = true\npath = "/../etc?x"', "is no path"),
        ('open = true\ntemplate = "$"', "template: .* no name follows"),
        ('open = true\nshape = "jira"', "Invalid enum value 'jira'"),
        ('open = true\n[plugins.webhook.hooks.b]\nopen = true\npath = "/build"', "has the path of"),
        ('open = true\n[plugins.webhook.hooks."a b"]\nopen = true\npath = "/c d"', "is no path"),
    ],
)
async def test_a_wrong_hook_says_where_and_what(hook: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        async with TestBot(config(hook)):
            pass


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ('listen = "8080"', "no address such as 127.0.0.1:8080"),
        ('listen = "127.0.0.1:99999"', "no address"),
        ("max_requests = 0", "max_requests must be above 0"),
    ],
)
async def test_a_wrong_config_says_what(more: str, says: str) -> None:
    text = config(OPEN, more)
    if more.startswith("listen"):
        text = text.replace('listen = "127.0.0.1:0"\n', "")
    with pytest.raises(ConfigError, match=says):
        async with TestBot(text):
            pass


async def test_a_secret_that_is_not_there(tmp_path: Any) -> None:
    with pytest.raises(PluginError, match=r"hooks.build.: the environment variable X is empty"):
        async with TestBot(config('secret_env = "X"')):
            pass
    with pytest.raises(PluginError, match=r"secret_file: .*: No such file"):
        async with TestBot(config(f'secret_file = "{tmp_path}/none"')):
            pass


async def test_a_secret_in_a_file(tmp_path: Any) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    async with serving(f'to = ["{ROOM}"]\nsecret_file = "{tmp_path}/secret"') as (_, post):
        assert (await post({"text": "x"}, Authorization=f"Bearer {SECRET}"))[0] == 200


async def test_a_port_that_is_taken() -> None:
    async with serving(OPEN) as (bot, _):
        text = config(OPEN).replace("127.0.0.1:0", bot.app.plugins.get("webhook").address)
        with pytest.raises(PluginError, match=r"listen: 127.* can't be opened: .*in use; name an"):
            async with TestBot(text):
                pass


async def test_without_aiohttp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.delitem(sys.modules, "zxmpp_plugins.door", raising=False)
    monkeypatch.delattr("zxmpp_plugins.door", raising=False)
    with pytest.raises(PluginError, match=r"needs aiohttp; install it: pip install 'zxmpp\[web\]'"):
        async with TestBot(config(OPEN)):
            pass
