"""Sphinx configuration. Build: sphinx-build -W docs docs/_build/html"""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "zxmpp"
author = "the zxmpp maintainers"
copyright = "2026, the zxmpp maintainers"
release = version_of("zxmpp")
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
extensions += ["drawing", "generated", "indexes"]  # in _ext
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "zxmpp"

# Docstrings mark names of the code with single backticks.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
# A class of zxmpp that a signature names has its place on a page. Backticks mark any name, so they
# need none; nor do others' classes, type variables, what is private, and inner parts.
nitpicky = True
nitpick_ignore_regex = [
    ("py:obj", ".*"),
    ("py:.*", r"(?!zxmpp\.).*"),
    ("py:.*", r"zxmpp\.(.*\.)?(_\w+|[A-Z])"),
    ("py:.*", r"zxmpp\.(commands\.(adhoc|words)|modules|testing\.servers\.base)\.\w+"),
    (
        "py:.*",
        r"zxmpp\.(mdp\.(broker\.(records|errands)|messages)|streams\.(dispatch|matching|reply|source|turns))\.\w+",
    ),
]
