"""What an operator reads when the configuration is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from zxmpp.config import load, parse
from zxmpp.errors import ConfigError

GOOD = """
[app]
log_level = "WARNING"

[roles]
admin = ["Alice@localhost"]

[streams.bot]
kind = "component"
jid = "bot.localhost"
host = "127.0.0.1"
port = 5347

[sockets.alerts]
type = "PULL"
bind = ["tcp://127.0.0.1:5556"]
rcvhwm = 500

[plugins.echo]

[plugins.mine]
use = "mine:Mine"
"""


def test_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "bot.toml"
    path.write_text(GOOD)
    settings = load(path)
    assert settings.app.log_level == "WARNING"
    assert settings.roles == {"admin": ["alice@localhost"]}
    assert settings.streams["bot"].port == 5347
    assert list(settings.sockets["alerts"].bind) == ["tcp://127.0.0.1:5556"]
    assert settings.plugins["echo"].use == "echo"
    assert settings.plugins["mine"].use == "mine:Mine"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[apps]", r"has no table 'apps'; did you mean 'app'"),
        ("[app", "not TOML: Expected"),
        ("app = 3", r"\[app\] is a table"),
        ("[app]\nlog_level = 'LOUD'", r"\[app\]: .*DEBUG, INFO"),
        ("[pipeline]\ntimeout = 0", r"\[pipeline\]: timeout must be above 0"),
        ("[pipeline]\nlane_limit = 'x'", r"\[pipeline\] lane_limit: Expected `int`, got `str`"),
        ("[guards]\nrate = -1", "rate is messages a second"),
        ("[commands]\nprefix = ' '", "prefix is one or more characters"),
        ("[commands]\nprefixx = '!'", r"\[commands\] has no key 'prefixx'; did you mean 'prefix'"),
        ("[roles]\nadmin = ['a@b/c']", r"\[roles\] admin: 'a@b/c' is not a bare JID"),
        ("[roles]\nadmin = 'a@b'", r"\[roles\] admin: Expected `array`"),
        ("[streams.bot]\nkind = 'component'\njidd = 'x'", r"\[streams.bot\] has no key 'jidd'"),
        ("[streams.bot]\nkind = 'client'", r"\[streams.bot\]: .*jid"),
        ("[streams.bot]\nkind = 'server'\njid = 'a@b'", r"\[streams.bot\] kind: "),
        ("[streams]\nbot = 3", r"write \[streams.bot\]"),
        ("[sockets.a]\ntype = 'PUL'\nbind = 'tcp://127.0.0.1:*'", r"sockets.a.*PULL"),
        ("[sockets.a]\ntype = 'PULL'\nrcvhmw = 1", r"sockets.a.*rcvhmw.*rcvhwm"),
        ("[plugins.x]\nuse = 'a b'", r"\[plugins.x\] use"),
    ],
)
def test_what_it_says(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=f"(?is){says}"):
        parse(text)


def test_a_missing_file_and_bad_bytes_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing.toml: .*can't be read: No such file"):
        load(tmp_path / "missing.toml")
    path = tmp_path / "bad.toml"
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"bad.toml: not UTF-8 at byte 0"):
        load(path)
    path.write_text("[appp]")
    with pytest.raises(ConfigError, match=r"bad.toml: .*'appp'"):
        load(path)
