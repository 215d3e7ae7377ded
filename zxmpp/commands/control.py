"""Where the shell and a running bot meet: the path of a socket that only its owner can use.

Rules:
- The path follows from the configuration file, so both sides find it without being told.
- Its folder belongs to the user, and nobody else may enter it; of a path that the configuration names,
  nobody else may write there. A link is not followed. Anything else is a ControlError.
- A socket whose process is dead is replaced; where somebody listens, another bot runs.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zxmpp.errors import SocketError
from zxmpp.sockets.address import MAX_IPC_PATH, ipc_listener

__all__ = ["ControlError", "claim", "paths", "present", "refuse_second", "unmasked"]

_OFF = 'or switch it off: [app] control = "off"'
_OTHER = f"choose another place, as in [app] control = '/run/mybot/control.sock', {_OFF}"


class ControlError(SocketError):
    """The control socket can't stand there."""


def paths(control: str, config: Path | None) -> list[Path]:
    """Where the socket of the bot of `config` may be, the best place first; empty if it has none.
    `control` is what ``[app] control`` says."""
    if control == "off" or (control == "auto" and config is None):
        return []
    if control != "auto" or config is None:
        return [Path(control)]
    whole = config.resolve()
    name = re.sub(r"[^A-Za-z0-9._-]", "_", whole.stem)[:32]
    digest = hashlib.sha256(os.fsencode(whole)).hexdigest()[:12]
    folders = [Path(f"/tmp/zxmpp-{os.geteuid()}")]
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/") and os.path.isdir(runtime):
        folders.insert(0, Path(runtime) / "zxmpp")
    return [folder / f"{name}-{digest}.sock" for folder in folders]


def claim(path: Path, private: bool) -> None:
    """See that a socket can be bound at `path`; with `private` its folder is ours alone, and made if
    need be. ControlError says what is in the way."""
    _check_length(path)
    if private:
        try:
            path.parent.mkdir(mode=0o700)
        except FileExistsError:
            pass
        except OSError as error:
            raise ControlError(
                f"the folder of the control socket, {path.parent}, can't be made: "
                f"{error.strerror}; {_OTHER}"
            ) from error
    _check_folder(path.parent, private)
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ControlError(f"the control socket can't be made at {path}: there is a file; {_OTHER}")
    path.unlink()


def refuse_second(places: list[Path]) -> None:
    """ControlError if a bot listens at one of `places`."""
    for path in places:
        if ipc_listener(f"ipc://{path}"):
            raise ControlError(
                f"a bot of this configuration runs already: it listens at {path}. Stop it first; "
                f"or give this one a configuration file of its own, {_OFF}"
            )


@contextmanager
def unmasked() -> Iterator[None]:
    """Whatever is made inside, only its owner can use."""
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)


def present(places: list[Path]) -> Iterator[Path]:
    """Where a bot may listen: there is a socket. ControlError if it would be somebody else's."""
    for path in places:
        _check_length(path)
        try:
            found = path.lstat()
        except OSError:
            continue
        if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
            raise ControlError(
                f"{path} is not a socket of your own; run this as the user that runs the bot"
            )
        yield path


def _check_length(path: Path) -> None:
    length = len(os.fsencode(path))
    if length > MAX_IPC_PATH:
        raise ControlError(
            f"the path of the control socket has {length} bytes, at most {MAX_IPC_PATH} are "
            f"possible: {path}; {_OTHER}"
        )


def _check_folder(folder: Path, private: bool) -> None:
    try:
        found = folder.lstat()
    except OSError as error:
        raise ControlError(
            f"the folder of the control socket, {folder}: {error.strerror}; make it, or {_OTHER}"
        ) from error
    forbidden = 0o077 if private else 0o022
    if not stat.S_ISDIR(found.st_mode):
        problem = "is not a folder"
    elif found.st_uid != os.geteuid():
        problem = f"belongs to somebody else (user id {found.st_uid})"
    elif found.st_mode & forbidden:
        problem = f"is open to others (mode {stat.S_IMODE(found.st_mode):04o}; chmod 700 it)"
    else:
        return
    raise ControlError(f"the folder of the control socket, {folder}, {problem}; {_OTHER}")
