"""The way of a new user, from an empty folder to a bot that answers; and each wrong step on it."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import command, environment
from tests.live.walkthrough import LIMIT, Person
from zxmpp.testing.servers import Ejabberd, Prosody, Server
from zxmpp.testing.servers.ports import LOOPBACK, free_port

SANDBOX = Path(__file__).with_name("sandbox.py")
COMPONENT = "tea.localhost"
SECRET = "a long random secret"


def ran(folder: Path, *words: str, secret: str = "", stdin: str = "") -> tuple[int, str]:
    """A command to its end: the exit status, and all that it wrote."""
    done = subprocess.run(
        words, cwd=folder, env=secret_in_environment(secret), input=stdin,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def typed(folder: Path, *words: str, **more: str) -> tuple[int, str]:
    """The same for ``zxmpp WORDS``."""
    return ran(folder, *command(*words), **more)


def secret_in_environment(secret: str) -> dict[str, str]:
    return {**environment(""), **({"ZXMPP_BOT_SECRET": secret} if secret else {})}


def edit(path: Path, **keys: Any) -> None:
    """Give lines ``key = value`` another value; those that are comments become lines."""
    text = path.read_text()
    for key, value in keys.items():
        text, count = re.subn(rf"(?m)^(# )?{key} = .*$", f"{key} = {value!r}", text, count=1)
        assert count, f"no {key} in {path}"
    path.write_text(text)


@asynccontextmanager
async def running(folder: Path, secret: str, *before: str) -> AsyncIterator[Process]:
    """``zxmpp run``, as the argument of the command `before` if there is one."""
    process = await asyncio.create_subprocess_exec(
        *before, *command("run"), cwd=folder, env=secret_in_environment(secret),
        stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(LIMIT):
            await process.communicate()


async def says(process: Process, text: str) -> str:
    """What it has logged when it has logged `text`."""
    assert process.stderr is not None
    seen = b""
    async with asyncio.timeout(LIMIT):
        while text.encode() not in seen:
            line = await process.stderr.readline()
            assert line, f"no {text!r} in {seen.decode()}"
            seen += line
    return seen.decode()


async def answers(server: Server, bot: str) -> None:
    async with server.login("alice@localhost/desk") as alice:
        person = Person(alice)
        person.says(bot, "!hello Ann")
        assert await person.hears() == "Hello, Ann!"


@pytest.mark.parametrize("kind", [Prosody, Ejabberd], ids=["prosody", "ejabberd"])
async def test_a_bot_with_an_account(kind: type[Server], tmp_path: Path) -> None:
    status, out = typed(tmp_path, "new", "bot", "tea-bot")
    assert (status, out.splitlines()[-3:-1]) == (
        0, ["  pip install -e '.[test]' && pytest", "  zxmpp shell"],
    )  # fmt: skip
    folder, config = tmp_path / "tea-bot", tmp_path / "tea-bot" / "bot.toml"
    good = config.read_text()

    # Without a server.
    assert typed(folder, "shell", stdin="!hello Ann\n")[1].endswith("Hello, Ann!\n")
    status, out = ran(folder, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert status == 0, out

    # What is wrong is said before anything is started.
    for wrong, said in {
        good: "no secret for tea-bot@example.org: the environment variable ZXMPP_BOT_SECRET",
        good.replace("nick =", "nikc ="): "has no key 'nikc'; did you mean 'nick'?",
        good.replace("[plugins.help]", "[plugins.hlep]"): "did you mean 'help'?",
        good.replace("tea_bot:TeaBot", "tea_bot:TeeBot"): "module 'tea_bot' has no 'TeeBot'",
        good.replace("greeting =", "greting ="): "has no key 'greting'; did you mean 'greeting'?",
        good.replace("tea-bot@", ""): "'example.org' has no part before an @",
    }.items():
        config.write_text(wrong)
        for what in ("check", "run"):
            status, out = typed(folder, what, secret="" if wrong is good else "known")
            assert status == 2, out
            assert said in out
            assert re.match(r"bot\.toml:\d+: \[", out), out
            assert out.endswith("zxmpp: 1 problem\n"), out
    config.write_text(good)

    with kind(tls=True) as server:
        password = server.accounts["bot@localhost"]

        async def wrong_step(secret: str, said: str, **keys: Any) -> None:
            edit(config, **keys)
            async with running(folder, secret) as process:
                log = await says(process, said)
            assert "Traceback" not in log
            assert " slixmpp.features" not in log, "the symptom hides the reason"

        edit(config, jid="bot@localhost", host=LOOPBACK)
        await wrong_step(password, "nobody listens there: see that the server is up, and check host "
                         "and port; the next try is in", port=free_port())  # fmt: skip
        await wrong_step(password, "certificate is not trusted", port=server.c2s_port)
        await wrong_step("wrong", "refused: the password is wrong, or the account does not exist: "
                         "check jid and the secret", ca_file=str(server.ca_file))  # fmt: skip
        await wrong_step(password, "refused: host-unknown: the server does not know this JID: ",
                         jid="bot@elsewhere.localhost")  # fmt: skip
        edit(config, jid="bot@localhost")

        assert typed(folder, "check", secret=password)[1].endswith("bot.toml: good\n")
        async with running(folder, password) as process:
            await says(process, "stream bot: online as bot@localhost")
            await answers(server, "bot@localhost")
        assert process.returncode == 0


def with_snippet(kind: type[Server], deploy: Path, port: int) -> Server:
    """A server that has the snippet that ``zxmpp new`` made, but for domain, secret and port."""
    path = deploy / ("prosody.cfg.lua" if kind is Prosody else "ejabberd.yml")
    snippet = path.read_text()
    for old, new in [("tea-bot.example.org", COMPONENT), ("write-the-secret-here", SECRET),
                     ("5347", str(port))]:  # fmt: skip
        assert old in snippet
        snippet = snippet.replace(old, new)
    path.write_text(snippet)
    if kind is Prosody:
        return Prosody(components={}, extra_config=f"component_ports = {{ {port} }}\n{snippet}")
    return Ejabberd(components={}, extra_config={"include_config_file": str(path)})


@pytest.mark.parametrize("kind", [Prosody, Ejabberd], ids=["prosody", "ejabberd"])
async def test_a_component_by_its_snippet(kind: type[Server], tmp_path: Path) -> None:
    assert typed(tmp_path, "new", "bot", "tea-bot", "--component")[0] == 0
    folder, port = tmp_path / "tea-bot", free_port()
    edit(folder / "bot.toml", jid=COMPONENT, port=port)
    with with_snippet(kind, folder / "deploy", port) as server:
        async with running(folder, "wrong") as process:
            await says(process, "refused: not-authorized: the secret is wrong, or the server does not "
                       "know this JID")  # fmt: skip
        async with running(folder, SECRET) as process:
            await says(process, f"stream bot: online as {COMPONENT}")
            await answers(server, f"bot@{COMPONENT}")


def unit_of(folder: Path) -> Path:
    """The unit, with the programs of this environment in place of those in /opt."""
    [unit] = folder.glob("*.service")
    program = Path(sys.executable).with_name("zxmpp")
    unit.write_text(re.sub(r"/opt/[\w-]+/.venv/bin/zxmpp", str(program), unit.read_text()))
    return unit


@pytest.mark.parametrize("what", ["bot", "worker"])
def test_the_unit_is_right_and_shut(what: str, tmp_path: Path) -> None:
    typed(tmp_path, "new", what, "tea-time")
    unit = unit_of(tmp_path / "tea-time")
    analyze = ["systemd-analyze", "--no-pager"]
    assert ran(tmp_path, *analyze, "verify", str(unit)) == (0, "")
    _, out = ran(tmp_path, *analyze, "security", "--offline=true", str(unit))
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", out)
    assert exposure, out
    print(f"{unit.name}: exposure {exposure[1]} of 10")
    assert float(exposure[1]) < 1.5


async def test_a_bot_and_its_worker_live_with_what_their_units_leave(
    prosody: Prosody, tmp_path: Path
) -> None:
    # Among other things, libzmq ends the process where it may not look at interfaces or set its
    # thread's policy: a filter that is too strict is found here.
    typed(tmp_path, "new", "bot", "tea-bot", "--component")
    typed(tmp_path, "new", "worker", "word-count")
    bot, worker = tmp_path / "tea-bot", tmp_path / "word-count"
    ((jid, secret),) = prosody.components.items()
    edit(bot / "bot.toml", jid=jid, port=prosody.component_port)
    address = f"tcp://{LOOPBACK}:{free_port()}"
    with (bot / "bot.toml").open("a") as config:
        config.write(f'[broker]\nbind = "{address}"\n[plugins.workers.commands.words]\n'
                     'service = "word-count"\nusage = "<text ...>"\nhelp = "Count."\n')  # fmt: skip
    # The secret comes as in the unit: a credential.
    (tmp_path / "ZXMPP_BOT_SECRET").write_text(secret)
    sandbox = ["env", f"CREDENTIALS_DIRECTORY={tmp_path}", sys.executable, str(SANDBOX)]
    serve = ["worker", "word_count:word_count", "--service", "word-count", "--connect", address]
    async with running(bot, "", *sandbox, str(unit_of(bot))) as process:
        await says(process, "stream bot: online")
        serving = await asyncio.create_subprocess_exec(
            sys.executable, str(SANDBOX), str(unit_of(worker)), *command(*serve), cwd=worker,
            stderr=DEVNULL,
        )  # fmt: skip
        try:
            async with prosody.login("alice@localhost/desk") as alice:
                person = Person(alice)
                person.says(f"bot@{jid}", "!words to be or not to be")
                assert await person.hears() == "6 words"
        finally:
            if serving.returncode is None:
                serving.terminate()
            await serving.wait()
        assert serving.returncode == 0
    assert process.returncode == 0
