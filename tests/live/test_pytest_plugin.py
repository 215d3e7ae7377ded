"""The fixtures, as somebody's own tests would use them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_TESTS = """\
import pytest

seen = []

{mark}
async def test_own(prosody):
    async with prosody.login("alice@localhost") as alice:
        assert alice.boundjid.bare == "alice@localhost"
    seen.append(prosody.pid)

{mark}
async def test_another(prosody):
    assert seen and prosody.pid not in seen

{mark}
async def test_shared(prosody_server):
    async with prosody_server.login("alice@localhost"):
        seen.append(prosody_server.pid)

{mark}
async def test_shared_again_in_another_loop(prosody_server):
    assert prosody_server.pid == seen[-1]
    async with prosody_server.login("alice@localhost"):
        pass

def test_without_a_loop(prosody_server):
    assert prosody_server.running
"""

_INI = """\
[pytest]
filterwarnings = error
asyncio_default_fixture_loop_scope = function
"""


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_fixtures_work_in_both_modes(tmp_path: Path, mode: str) -> None:
    mark = "@pytest.mark.asyncio" if mode == "strict" else ""
    (tmp_path / "test_bot.py").write_text(_TESTS.format(mark=mark))
    (tmp_path / "pytest.ini").write_text(_INI)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o"]
    done = subprocess.run(
        [*command, f"asyncio_mode={mode}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "5 passed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
