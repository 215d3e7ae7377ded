"""What the docs show of the shell is what ``zxmpp`` does today.

- Every command and option that a page names exists.
- What needs no server is run as it stands, and answers what the page shows. ``...`` stands for the
  rest of a line.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.docs.test_samples import PAGES, ROOT, name_of, samples
from zxmpp.cli import cli

ALL = sorted({*PAGES, ROOT / "CONTRIBUTING.md", *ROOT.glob("examples/*/README.md")})
#: In a block of a shell, and in the text.
LINE = re.compile(r"^(?:[$#] )?(zxmpp [a-z].*)$", re.MULTILINE)
CODE = re.compile(r"`(zxmpp [a-z][^`\n]*)`")
#: Needs a server, never ends, or tells what is installed.
NOT_RUN = ("run", "demo", "worker", "call", "top", "record", "version")


def commands(page: Path) -> list[str]:
    shells = "".join(samples(page, "console") + samples(page, "sh"))
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return LINE.findall(shells) + CODE.findall(text)


@pytest.mark.parametrize("page", [page for page in ALL if commands(page)], ids=name_of)
def test_every_command_and_option_exists(page: Path) -> None:
    for line in commands(page):
        words = shlex.split(line, comments=True)[1:]
        known: Any = typer.main.get_command(cli)
        while words and hasattr(known, "commands"):
            assert words[0] in known.commands, line
            known = known.commands[words.pop(0)]
        options = {name for each in known.params for name in each.opts} | {"--help"}
        for word in words:
            if word.startswith("-") and word != "-":
                assert word.partition("=")[0] in options, line


def steps(block: str) -> Iterator[tuple[str, list[str]]]:
    """The commands of a block, each with the lines that it answers."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *lines = part.splitlines()
        yield command, lines


def tutorial(folder: Path) -> None:
    page = ROOT / "docs" / "tutorial.md"
    (folder / "bot.toml").write_text(samples(page, "toml")[0])
    (folder / "greet.py").write_text(samples(page, "python")[0])


def security(folder: Path) -> None:
    roles = samples(ROOT / "docs" / "security.md", "toml")[0]
    stream = '[streams.bot]\njid = "bot@example.org"\n[plugins.wipe]\nuse = "wipe:Wipe"\n'
    (folder / "bot.toml").write_text(stream + roles)
    (folder / "wipe.py").write_text(
        "from zxmpp import Plugin, command\n\n\nclass Wipe(Plugin):\n"
        '    @command(role="admin")\n    def wipe(self) -> str:\n        return "done"\n'
    )


def operate(folder: Path) -> None:
    (folder / "bot.toml").write_text(
        '[streams.bot]\nkind = "component"\njid = "bot.localhost"\n[plugins.echo]\n'
    )


def deploy(folder: Path) -> None:
    """It begins in an empty folder."""


@pytest.mark.parametrize("prepare", [tutorial, security, operate, deploy])
def test_the_shell_answers_what_the_page_shows(prepare: Any, tmp_path: Path) -> None:
    folder = ROOT / "docs" / ("howto" if prepare in (operate, deploy) else "")
    page = folder / f"{prepare.__name__}.md"
    prepare(tmp_path)
    environment = {name: text for name, text in os.environ.items() if "ZXMPP" not in name}
    compared = 0
    for command, shown in [step for block in samples(page, "console") for step in steps(block)]:
        words = shlex.split(command)
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            environment[name] = value
        if words[0] != "zxmpp" or words[1] in NOT_RUN or not shown:
            continue
        typed = "".join(f"{line[2:]}\n" for line in shown if line.startswith("> "))
        done = subprocess.run(
            [sys.executable, "-m", "zxmpp.cli", *words[1:]], cwd=tmp_path, env=environment,
            input=typed, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        said = (done.stdout + done.stderr).replace(str(tmp_path), "/home/ann").splitlines()
        expected = [line for line in shown if not line.startswith("> ")]
        assert len(said) == len(expected), said
        for line, pattern in zip(said, expected, strict=True):
            assert re.fullmatch(re.escape(pattern).replace(r"\.\.\.", ".*"), line.rstrip()), line
        compared += 1
    assert compared
