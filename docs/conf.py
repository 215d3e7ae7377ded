"""Sphinx configuration. Build: sphinx-build -W docs docs/_build/html"""

from importlib.metadata import version as version_of

project = "zxmpp"
author = "the zxmpp maintainers"
copyright = "2026, the zxmpp maintainers"
release = version_of("zxmpp")
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "zxmpp"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nitpicky = False
