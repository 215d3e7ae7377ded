"""Where secrets come from, and that they go nowhere else."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from zxmpp.errors import ConfigError
from zxmpp.streams import StreamSettings, read_secret
from zxmpp.streams.secret import mask

from .conftest import Line

CLIENT = StreamSettings(jid="bot@example.org")


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZXMPP_MY_BOT_SECRET", "s3 cret ")
    assert read_secret("my-bot", CLIENT) == "s3 cret "
    monkeypatch.setenv("OTHER", "other\n")
    assert read_secret("x", StreamSettings(jid="bot@example.org", secret_env="OTHER")) == "other"


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_from_a_file(tmp_path: Path, end: str) -> None:
    path = tmp_path / "secret"
    path.write_bytes(f"pässword {end}".encode())
    settings = StreamSettings(jid="bot@example.org", secret_file=str(path))
    assert read_secret("x", settings) == "pässword "


def test_from_a_credential_where_the_environment_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.delenv("ZXMPP_BOT_SECRET", raising=False)
    credential = tmp_path / "ZXMPP_BOT_SECRET"
    with pytest.raises(
        ConfigError, match=rf"ZXMPP_BOT_SECRET \(as well as .* {credential}\) is not"
    ):
        read_secret("bot", CLIENT)
    credential.write_text("from a credential\n")
    assert read_secret("bot", CLIENT) == "from a credential"
    monkeypatch.setenv("ZXMPP_BOT_SECRET", "from the environment")
    assert read_secret("bot", CLIENT) == "from the environment"


def test_what_is_wrong_is_said_without_the_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ZXMPP_BOT_SECRET", raising=False)
    with pytest.raises(ConfigError, match=r"\[streams\.bot\].*ZXMPP_BOT_SECRET is not set"):
        read_secret("bot", CLIENT)
    path = tmp_path / "secret"
    settings = StreamSettings(jid="bot@example.org", secret_file=str(path))
    with pytest.raises(ConfigError, match=r"can't be read: No such file"):
        read_secret("bot", settings)
    path.write_text("\n")
    with pytest.raises(ConfigError, match="is not set or empty"):
        read_secret("bot", settings)
    path.write_text("hunter2\nmore\n")
    with pytest.raises(ConfigError, match="more than one line") as caught:
        read_secret("bot", settings)
    assert "hunter2" not in str(caught.value)
    path.write_bytes(b"hunter2\xff")
    with pytest.raises(ConfigError, match="not UTF-8") as caught:
        read_secret("bot", settings)
    assert "hunter2" not in repr(caught.value) + repr(caught.value.__context__.__dict__)


@pytest.mark.parametrize(
    "text",
    [
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGhUnTeR2</auth>",
        "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>AGhUnTeR2</response>",
        "<handshake>AGhUnTeR2</handshake>",
        "<iq><query xmlns='jabber:iq:register'><password>AGhUnTeR2</password></query></iq>",
    ],
)
def test_mask(text: str) -> None:
    assert "AGhUnTeR2" not in mask(text)
    assert mask(text).replace("[masked]", "AGhUnTeR2") == text


def test_the_rest_is_shown() -> None:
    text = "<message><body>the &lt;password> is pass</body></message><auth/><a>b</a>"
    assert mask(text) == text


async def test_the_wire_log_has_no_secrets(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    line.online()
    line.xmpp.send_raw("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>AGhUnTeR2</auth>")
    line.xmpp.send_raw(b"<response>AGhUnTeR2</response>")
    line.feed("<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>AGhUnTeR2</challenge>")
    line.xmpp.send_message("alice@localhost", "hello there")
    await line.sent()
    assert "hello there" in caplog.text
    assert "[masked]" in caplog.text
    assert "AGhUnTeR2" not in caplog.text
    if line.xmpp.is_component:
        assert "SEND: <handshake>[masked]</handshake>" in caplog.text
