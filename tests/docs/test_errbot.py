"""The errbot plugin that the page of moving one begins with is one that errbot runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.docs.test_samples import ROOT, samples

PAGE = ROOT / "docs" / "howto" / "from-errbot.md"
PLUG = "[Core]\nName = Coffee\nModule = coffee\n[Python]\nVersion = 3\n"
#: What is typed, and what the page's plugin answers there.
DRIVER = """
import sys
from errbot.backends.test import TestBot

bot = TestBot(extra_plugin_dir=sys.argv[1])
bot.start()
try:
    for text, answer in [
        ("!coffee 2", "2 for gbin@localhost"),
        ("!coffee list", "gbin@localhost: 2"),
        ("!coffee 11", "The pot holds 12 cups."),
        ("I am so Tired", "!coffee helps."),
        ("!coffee clear", "The pot is empty."),
    ]:
        bot.push_message(text)
        said = bot.pop_message(timeout=20)
        assert said == answer, (text, said)
finally:
    bot.stop()
print("all as expected")
"""


# It needs no server, but PyPI.
@pytest.mark.live
def test_errbot_runs_what_the_page_moves(tmp_path: Path) -> None:
    done = subprocess.run(
        [ROOT / ".ci/install-errbot"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f".ci/install-errbot failed; it needs PyPI:\n{done.stderr}"
    folder = tmp_path / "coffee"
    folder.mkdir()
    (folder / "coffee.plug").write_text(PLUG)
    (folder / "coffee.py").write_text(samples(PAGE, "py")[0])
    done = subprocess.run(
        [ROOT / ".venv-errbot/bin/python", "-c", DRIVER, folder], cwd=tmp_path,
        env={"TMPDIR": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.endswith("all as expected\n"), done.stdout + done.stderr
