"""What gets installed: every package, under the names in pyproject.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_package_is_listed() -> None:
    # The list is written out, because one folder is installed under another name; so a new
    # package that is not in it would work in the checkout, and be missing from the wheel.
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {
        ".".join([name, *path.parent.relative_to(ROOT / folder).parts])
        for name, folder in settings["package-dir"].items()
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert set(settings["packages"]) == found


def test_every_template_is_package_data() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packed = {path for pattern in settings["package-data"]["zxmpp"]
              for path in (ROOT / "zxmpp").glob(pattern)}  # fmt: skip
    templates = [path for path in (ROOT / "zxmpp/cli/templates").rglob("*") if path.is_file()]
    assert templates
    assert [path for path in templates if path not in packed] == []
