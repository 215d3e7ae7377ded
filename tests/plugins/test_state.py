"""The file that keeps a plugin's state: whole or not at all, and never overwritten unread."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from zxmpp import PluginError
from zxmpp_plugins.state import StateFile


def state(path: Path | str, max_bytes: int = 1000) -> StateFile[dict[str, int]]:
    return StateFile(str(path), dict[str, int], "[plugins.x] file", max_bytes)


async def test_what_was_written_is_read(tmp_path: Path) -> None:
    file = state(tmp_path / "a.json")
    assert file.read() is None
    await file.write({"a": 1})
    assert state(tmp_path / "a.json").read() == {"a": 1}
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o600


async def test_a_relative_path_stands_in_the_state_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", f"{tmp_path}:/var/lib/other")
    await state("a.json").write({"a": 1})
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"a": "x"}', b"\xff", b"[" * 100_000, b" " * 1001, b'{"a": 1' + b"0" * 500]
)  # fmt: skip
def test_what_is_something_else_is_left_as_it_is(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(PluginError, match=r"\[plugins.x\] file: .*a.json is not what was written"):
        state(path).read()
    assert path.read_bytes() == data


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="can't be written: No such file or directory; name a"):
        await state(tmp_path / "none" / "a.json").check({})
    with pytest.raises(PluginError, match="can't be read: Is a directory"):
        state(tmp_path).read()


async def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = state(tmp_path / "a.json")
    await file.write({"a": 1})

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        await file.write({"a": 2})
    assert file.read() == {"a": 1}
    assert os.listdir(tmp_path) == ["a.json"]


async def test_the_last_of_many_writes_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, value = state(tmp_path / "a.json"), {"a": 0}
    under_way, most = [0], [0]
    fsync = os.fsync

    def watched(fd: int) -> None:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        fsync(fd)
        under_way[0] -= 1

    monkeypatch.setattr(os, "fsync", watched)
    writes = []
    for number in range(20):
        value["a"] = number
        writes.append(asyncio.ensure_future(file.write(value)))
    await asyncio.gather(*writes)
    assert file.read() == {"a": 19}
    assert most == [1]
