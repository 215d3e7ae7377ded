"""The ``zxmpp`` command as a process, as people run it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

#: What a secret looks like here; it must not be seen anywhere.
SECRET = "a-secret-not-to-be-seen"

Zxmpp = Callable[..., "subprocess.CompletedProcess[str]"]


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "zxmpp.cli", *args]


def environment(secret: str = SECRET) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ZXMPP_")}
    return {**kept, "NO_COLOR": "1", **({"ZXMPP_BOT_SECRET": secret} if secret else {})}


@pytest.fixture
def zxmpp(tmp_path: Path) -> Zxmpp:
    def run(*args: str, stdin: str = "", secret: str = SECRET) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*args), cwd=tmp_path, input=stdin, env=environment(secret),
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip

    return run
