"""Every sample in README and docs is what the project does today.

- TOML samples are configurations: they parse.
- The Python samples of a page make one module, in order; it is imported, and its tests are run.
- README's samples are the files of examples/hello.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from zxmpp.config import parse

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def samples(page: Path, language: str) -> list[str]:
    return [text for name, text in BLOCK.findall(page.read_text()) if name == language]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [p for p in PAGES if samples(p, "toml")], ids=name_of)
def test_configurations_parse(page: Path) -> None:
    for text in samples(page, "toml"):
        parse(text)


PYTHON_PAGES = [p for p in PAGES if samples(p, "python") and p.name != "README.md"]


@pytest.mark.parametrize("page", PYTHON_PAGES, ids=name_of)
def test_python_samples_run(page: Path, tmp_path: Path) -> None:
    module = tmp_path / "test_page.py"
    module.write_text("\n\n".join(samples(page, "python")) + "\n\ndef test_it_imports(): ...\n")
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
        "filterwarnings = error\n"
    )
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr


def test_readme_shows_the_files_of_the_example() -> None:
    shown = samples(ROOT / "README.md", "python")
    hello = ROOT / "examples" / "hello"
    assert shown == [(hello / "shout.py").read_text(), (hello / "worker.py").read_text()]
