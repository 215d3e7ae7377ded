"""What the pytest plugin costs those who don't use it, and says to those who can't."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_loading_imports_next_to_nothing() -> None:
    script = (
        "import sys, pytest\n"
        "before = set(sys.modules)\n"
        "import zxmpp.testing.pytest_plugin\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    ours = [name for name in done.stdout.split() if name.startswith("zxmpp")]
    assert ours == ["zxmpp", "zxmpp.testing", "zxmpp.testing.pytest_plugin"]
    assert not {"slixmpp", "zmq", "lxml"} & set(done.stdout.split())


def test_missing_server_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "test_bot.py").write_text("def test_bot(prosody): pass\n")
    (tmp_path / "conftest.py").write_text(
        "from zxmpp.testing.servers import prosody\nprosody.shutil.which = lambda *_, **__: None\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Prosody is not installed. Remedy: apt-get install prosody" in done.stdout
    assert "1 error" in done.stdout
