"""The page of each bundled plugin says what the plugin has: every key, every reason, the schema."""

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
from zxmpp_plugins import inject, publish, relay, workers

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("echo", "help", "relay", "publish", "inject", "workers")
STRUCTS: dict[str, list[type[msgspec.Struct]]] = {
    "relay": [relay.Route],
    "publish": [publish.Route],
    "inject": [inject.Route],
    "workers": [workers.WorkersConfig, workers.CommandSettings],
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


@pytest.mark.parametrize("name", ["relay", "inject", "workers"])
def test_every_reason_is_explained(name: str) -> None:
    source = (ROOT / "plugins" / f"{name}.py").read_text()
    reasons = re.findall(r'(?:Bad\(|\.count\()\s*"([a-z0-9-]+)"', source)
    assert len(reasons) > 3
    for reason in set(reasons) - {"relayed", "injected"}:
        assert f"`{reason}`" in page(name)


def test_the_schema_is_what_is_published() -> None:
    (sample,) = blocks("publish", "json")
    assert json.loads(sample) == publish.schema()


def test_the_index_names_all() -> None:
    for name in NAMES:
        assert f"[{name}]({name}.md)" in page("index")
