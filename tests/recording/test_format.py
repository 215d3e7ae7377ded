"""The file of a recording: private, never written over, bounded, readable whatever ended it."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from zxmpp.config import parse
from zxmpp.errors import ConfigError
from zxmpp.recording import Base64, Entry, RecordFile, Recording, frame_bytes, header_of
from zxmpp.recording.format import frame_of

BOT = """
[streams.bot]
jid = "bot@localhost"
secret_env = "THE_PASSWORD"
rooms = [{ jid = "ops@rooms.localhost", password_env = "ROOM_PASSWORD" }]

[sockets.alerts]
type = "PULL"
bind = "tcp://127.0.0.1:5556"
curve_secretkey_env = "KEY"
curve_server = true

[broker]
bind = ["tcp://127.0.0.1:5555"]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bot.jsonl"


def some(number: int) -> Entry:
    return Entry(float(number), "in", "stanza", "bot", xml=f"<message id='{number}'/>")


def make(path: Path, **options: Any) -> RecordFile:
    return RecordFile(path, header_of(parse('[streams.bot]\njid = "bot@localhost"')), **options)


def test_it_comes_back_as_it_was_written(path: Path) -> None:
    file = make(path)
    entries = [some(1), Entry(2.5, "out", "frames", "s", "echo", frames=["é", Base64("/w==")])]
    for entry in entries:
        file.write(entry)
    file.close("stopped", 3)
    recording = Recording(path)
    assert list(recording) == [*entries, Entry(3, "end", detail="stopped")]
    assert list(recording) == list(recording)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert file.lost == 0


def test_the_header_says_what_the_bot_is_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    for name in ("THE_PASSWORD", "ROOM_PASSWORD", "KEY"):
        monkeypatch.setenv(name, "x" * 40)
    RecordFile(path, header_of(parse(BOT), masked=True))
    text = path.read_text()
    assert "x" * 40 not in text
    assert "PASSWORD" not in text
    header = json.loads(text)
    assert header["zxmpp_recording"] == 1
    assert header["masked"] is True
    assert header["streams"]["bot"]["rooms"] == {"ops@rooms.localhost": "bot"}
    assert header["sockets"] == {"alerts": "PULL", "broker": "ROUTER"}


def test_frames_of_any_bytes() -> None:
    for data in (b"", b"text", "é".encode(), b"\xff\x00", bytes(range(256))):
        assert frame_bytes(frame_of(data)) == data
    assert frame_of(b"text") == "text"


def test_another_file_is_never_written_over(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(ConfigError, match="never written over another file; name a new one"):
        make(path)
    assert path.read_text() == "mine"
    with pytest.raises(ConfigError, match="can't be written: No such file"):
        make(path.parent / "no" / "folder")


def test_each_line_is_there_at_once(path: Path) -> None:
    file = make(path)
    file.write(some(1))
    # Not closed, as by a kill.
    assert list(Recording(path)) == [some(1)]
    file.close("stopped", 1)


def test_it_ends_at_its_bound_and_says_so(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = make(path, max_bytes=2000)
    for number in range(100):
        file.write(some(number))
    assert path.stat().st_size <= 2000
    entries = list(Recording(path))
    assert entries[-1].way == "end"
    assert entries[-1].detail == "max-bytes"
    assert len(entries) - 1 + file.lost == 100
    assert [r.message for r in caplog.records if "--max-bytes" in r.message] != []
    assert len(caplog.records) == 1


def test_the_last_line_finds_room_wherever_the_bound_is(path: Path) -> None:
    for bound in range(1000, 1200, 7):
        file = make(path, max_bytes=bound)
        for number in range(20):
            file.write(some(number))
        assert path.stat().st_size <= bound
        assert list(Recording(path))[-1].detail == "max-bytes"
        path.unlink()


def test_a_full_disk_ends_it_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = make(path)
    file.write(some(1))

    def full(fd: int, data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        file.write(some(2))
    file.write(some(3))
    file.close("stopped", 3)
    assert "No space left on device; make room" in caplog.text
    assert file.lost == 2
    assert list(Recording(path)) == [some(1)]


def test_a_line_that_was_cut_off_ends_it(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = make(path)
    for number in range(3):
        file.write(some(number))
    path.write_bytes(path.read_bytes()[:-10])
    assert list(Recording(path)) == [some(0), some(1)]
    assert ":4: cut off here" in caplog.text
    file.close("stopped", 3)


def test_a_broken_line_is_named(path: Path) -> None:
    file = make(path)
    file.write(some(1))
    file.close("stopped", 1)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], '{"t": "soon"}\n', *lines[1:]]))
    with pytest.raises(ConfigError, match=r"bot.jsonl:2: no entry: .*float"):
        list(Recording(path))


@pytest.mark.parametrize("text", ["", "{}", "[1]", "words\n", "\x00\xff", '{"zxmpp": "1"}'])
def test_what_is_no_recording(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"no recording of zxmpp's.*zxmpp record"):
        Recording(path)


def test_what_is_of_another_format(path: Path) -> None:
    path.write_text('{"zxmpp_recording": 9, "zxmpp": "7.0"}\n')
    with pytest.raises(ConfigError, match=r"format 9, and this zxmpp reads format 1.*\(7.0\)"):
        Recording(path)
    path.write_text('{"zxmpp_recording": 1}\n')
    with pytest.raises(ConfigError, match=r"1: the header is broken: .*missing"):
        Recording(path)
    with pytest.raises(ConfigError, match="can't be read: No such file"):
        Recording(path.parent / "none")
