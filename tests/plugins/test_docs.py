"""The page of each bundled plugin says what the plugin has: every key, every reason, the schema. What
it shows of a chat is what happens."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from zxmpp.config import to_struct
from zxmpp.loader import find
from zxmpp.testing.bot import TestBot
from zxmpp_plugins import (
    admin,
    bridge,
    exec,
    feed,
    hooks,
    inject,
    log,
    publish,
    relay,
    remind,
    vote,
    webhook,
    workers,
)

ROOT = Path(__file__).resolve().parents[2]
NAMES = (
    "echo", "help", "relay", "publish", "inject", "workers", "admin", "remind", "vote", "exec",
    "feed", "webhook", "bridge", "log",
)  # fmt: skip
#: Pages whose first chat is played, with the room that it is in.
PLAYED = {"echo": "", "help": "", "admin": "", "remind": "team@rooms.example.org",
          "vote": "team@rooms.example.org", "exec": "", "feed": ""}  # fmt: skip
#: What else belongs to a plugin.
MODULES = {"feed": ("fetch", "entries"), "webhook": ("door",)}
STRUCTS: dict[str, list[type[msgspec.Struct]]] = {
    "relay": [relay.Route],
    "publish": [publish.Route],
    "inject": [inject.Route],
    "workers": [workers.WorkersConfig, workers.CommandSettings],
    "admin": [admin.AdminConfig],
    "remind": [remind.RemindConfig],
    "vote": [vote.VoteConfig],
    "exec": [exec.ExecConfig, exec.CommandSettings],
    "feed": [feed.FeedConfig, feed.FeedSettings],
    "webhook": [webhook.WebhookConfig, hooks.Hook],
    "bridge": [bridge.BridgeConfig, bridge.BridgeSettings],
    "log": [log.LogConfig],
}


def page(name: str) -> str:
    return (ROOT / "docs" / "plugins" / f"{name}.md").read_text()


def blocks(name: str, language: str) -> list[str]:
    found: list[str] = re.findall(
        rf"^```{language}\n(.*?)^```$", page(name), re.MULTILINE | re.DOTALL
    )
    return found


def shown(value: Any) -> str:
    """A default as the page writes it."""
    return "" if value is msgspec.NODEFAULT else f"`{json.dumps(value)}`"


@pytest.mark.parametrize(
    ("name", "struct"), [(name, struct) for name in STRUCTS for struct in STRUCTS[name]]
)
def test_every_key_and_its_default_is_in_the_table(name: str, struct: type[msgspec.Struct]) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|(?: (`[^|]*`))? \|", page(name), re.MULTILINE))
    for field in msgspec.structs.fields(struct):
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        if isinstance(default, float) and default.is_integer():
            default = int(default)
        assert rows[field.encode_name] == shown(default)


@pytest.mark.parametrize("name", NAMES)
def test_the_samples_are_configurations_of_the_plugin(name: str) -> None:
    samples = blocks(name, "toml")
    assert samples
    for sample in samples:
        for plugin, table in tomllib.loads(sample)["plugins"].items():
            to_struct(find(plugin).Config, table, f"[plugins.{plugin}]")


@pytest.mark.parametrize(
    "name",
    ["relay", "inject", "workers", "remind", "vote", "exec", "feed", "webhook", "bridge", "log"],
)
def test_every_reason_is_explained(name: str) -> None:
    files = [name, *MODULES.get(name, ())]
    source = "".join((ROOT / "plugins" / f"{file}.py").read_text() for file in files)
    reasons = re.findall(r'(?:Bad\(|\._?count\(|_failed\(name, )\s*"([a-z0-9-]+)"', source)
    assert len(reasons) > 3
    for reason in set(reasons) - {"relayed", "injected"}:
        assert f"`{reason}`" in page(name)


def test_the_schema_is_what_is_published() -> None:
    (sample,) = blocks("publish", "json")
    assert json.loads(sample) == publish.schema()


def test_the_index_names_all() -> None:
    for name in NAMES:
        assert f"[{name}]({name}.md)" in page("index")


def turns(name: str) -> list[tuple[str, str, str]]:
    """The first chat of a page: who says what, and what the bot answers."""
    found: list[tuple[str, str, str]] = []
    for line in blocks(name, "text")[0].splitlines():
        speaker, text = line[:7].rstrip(" >"), line[7:]
        if speaker in ("", "bot"):
            found[-1] = (*found[-1][:2], f"{found[-1][2]}\n{text}".lstrip("\n"))
        else:
            found.append((speaker, text, ""))
    return found


@pytest.mark.parametrize("name", PLAYED)
async def test_the_chat_is_what_happens(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``...`` stands for what is not the same each time."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    async with TestBot(blocks(name, "toml")[0]) as bot:
        for speaker, text, shown in turns(name):
            replies = await bot.hears_message(
                text, sender=f"{speaker}@example.org/desk", room=PLAYED[name]
            )
            said = "\n".join(replies).replace("```\n", "").replace("\n```", "")
            pattern = ".*".join(map(re.escape, shown.split("...")))
            assert re.fullmatch(pattern, said, re.DOTALL), f"{text}: {said}"
