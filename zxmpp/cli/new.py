"""``zxmpp new``: a folder to begin with, for a bot, a plugin or a worker.

Rules:
- A template is a folder of real files, of something that is named my-name: they are checked and
  tested as they stand. The new name takes the place of that one, in the files and in their names.
- Nothing is ever overwritten, and nothing is left half made.
"""

from __future__ import annotations

import importlib.util
import keyword
import re
import shutil
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from zxmpp.errors import ConfigError, ZxmppError

__all__ = ["cli", "make"]

#: Where the templates are; each is a folder.
TEMPLATES = Path(__file__).parent / "templates"
#: What stands in them for the name: as it is, as a module, as a class.
NAME, MODULE, CLASS = "my-name", "my_name", "MyName"
LONGEST = 40

#: Modules and names that the made files have already.
_TAKEN = {"conftest", "plugin", "setup", "struct", "tests", "zxmpp_plugins"}

cli = typer.Typer(
    help="Make a bot, a plugin or a worker to begin with: configuration, code, a test that passes, "
    "and what it takes to run it as a service.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(help="Lower-case letters, digits, hyphens: my-bot.")]


@cli.command()
def bot(
    name: Name,
    component: Annotated[
        bool,
        typer.Option("--component", help="A domain of its own on your server, not an account."),
    ] = False,
) -> None:
    """Make a bot: configuration, a plugin of its own, a test, a unit, a Dockerfile.

    Exit status: 0 made; 1 the folder can't be written; 2 the name can't be.
    """
    folder = make(name, "bot", "component" if component else "client")
    _tell(folder, ["pip install -e '.[test]' && pytest", "zxmpp shell"])


@cli.command()
def plugin(name: Name) -> None:
    """Make a plugin that can be installed: a package, its config, a test.

    Exit status: 0 made; 1 the folder can't be written; 2 the name can't be.
    """
    folder = make(name, "plugin")
    _tell(folder, ["pip install -e '.[test]' && pytest", f"zxmpp plugins | grep {name}"])


@cli.command()
def worker(name: Name) -> None:
    """Make a worker, a service for bots: a function, a test, a unit, a Dockerfile.

    Exit status: 0 made; 1 the folder can't be written; 2 the name can't be.
    """
    folder = make(name, "worker")
    module = folder.name.replace("-", "_")
    serve = f"zxmpp worker {module}:{module} --service {name} --connect tcp://127.0.0.1:5555"
    _tell(folder, ["pip install -e '.[test]' && pytest", serve])


def make(name: str, *templates: str, into: Path | None = None) -> Path:
    """Make the folder `name` of the files of `templates`. ConfigError if the name can't be,
    ZxmppError if it can't be written."""
    folder = (into or Path()) / name
    module = _check(name, folder)
    words = {NAME: name, MODULE: module, CLASS: "".join(map(str.capitalize, name.split("-")))}

    def put(text: str) -> str:
        return re.sub("|".join(words), lambda found: words[found.group()], text)

    try:
        folder.mkdir()
        try:
            for template in templates:
                for source in _files(TEMPLATES / template):
                    target = folder / put(str(source.relative_to(TEMPLATES / template)))
                    target.parent.mkdir(exist_ok=True)
                    target.write_text(put(source.read_text("utf-8")), "utf-8")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    except OSError as error:
        where = folder.parent.absolute()
        raise ZxmppError(
            f"{name} can't be made in {where}: {error.strerror or error}; go to a folder that you "
            f"may write in"
        ) from error
    return folder


def _files(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return [path for path in found if not {"__pycache__", ".pytest_cache"} & {*path.parts}]


def _check(name: str, folder: Path) -> str:
    """The module's name. ConfigError says what is wrong with `name`."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > LONGEST:
        raise ConfigError(
            f"{name!r} can't be the name: it becomes a folder, a module and a unit. Take lower-case "
            f"letters, digits and single hyphens, a letter first, at most {LONGEST}: my-bot"
        )
    module = name.replace("-", "_")
    if folder.exists() or folder.is_symlink():
        raise ConfigError(
            f"{folder} is there already, and nothing is overwritten; choose another name, or move "
            f"it away"
        )
    if name in {entry.name for entry in entry_points(group="zxmpp.plugins")}:
        raise ConfigError(
            f"a plugin {name!r} is installed already (`zxmpp plugins` shows it); choose another name"
        )
    known = module in sys.stdlib_module_names or importlib.util.find_spec(module) is not None
    if known or module in _TAKEN or keyword.iskeyword(module) or module.startswith("test"):
        raise ConfigError(
            f"{name!r} can't be the name: Python, pytest or a package that is installed here has a "
            f"module {module!r}; choose another, as my-{name}"
        )
    return module


def _tell(folder: Path, commands: list[str]) -> None:
    typer.echo(f"Made in {folder.absolute()}:")
    for path in _files(folder):
        typer.echo(f"  {path.relative_to(folder)}")
    typer.echo("Type next:")
    for command in [f"cd {folder}", *commands]:
        typer.echo(f"  {command}")
    typer.echo("README.md tells the way from there.")
