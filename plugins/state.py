"""What a plugin keeps over a restart: one JSON file, bounded, written whole or not at all.

Rules:
- A relative path stands in ``$STATE_DIRECTORY``, which systemd sets, or else in the working folder.
- What can't be read is left as it is, and the plugin is not loaded: nothing is overwritten.
- It is written beside itself, flushed to the disk, and renamed: after a crash there is the old file
  or the new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from zxmpp import PluginError

__all__ = ["StateFile"]

T = TypeVar("T")


class StateFile(Generic[T]):
    """The file `path`, which holds a `kind`. `where` is for messages, as ``[plugins.remind] file``."""

    def __init__(self, path: str, kind: type[T], where: str, max_bytes: int = 16 << 20) -> None:
        folder = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
        self.path = Path(folder, path)
        self._kind = kind
        self._where = where
        self._max = max_bytes
        self._lock = asyncio.Lock()

    def read(self) -> T | None:
        """What is in the file; None if there is none. PluginError."""
        try:
            with self.path.open("rb") as file:
                data = file.read(self._max + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PluginError(
                f"{self._where}: {self.path} can't be read: {error.strerror}"
            ) from error
        try:
            if len(data) > self._max:
                raise ValueError(f"it has more than {self._max} bytes")
            return msgspec.json.decode(data, type=self._kind)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise PluginError(
                f"{self._where}: {self.path} is not what was written there: {error}. Repair it, or "
                f"move it away to begin anew"
            ) from error

    async def write(self, value: T) -> None:
        """Replace what is in the file by what `value` is when its turn comes. OSError."""
        async with self._lock:
            data = msgspec.json.encode(value)
            await asyncio.to_thread(_replace, self.path, data)

    async def check(self, value: T) -> None:
        """`write`, at the start of a plugin. PluginError."""
        try:
            await self.write(value)
        except OSError as error:
            raise PluginError(
                f"{self._where}: {self.path} can't be written: {error.strerror}; name a file in a "
                f"folder that is there and is the bot's"
            ) from error


def _replace(path: Path, data: bytes) -> Any:
    handle, name = tempfile.mkstemp(prefix=path.name, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
