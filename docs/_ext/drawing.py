"""``{drawing} FILE.svg``: a drawing, with the same picture as text.

Rules:
- The drawing stands in the page itself, so it takes the page's colours, light or dark.
- The text is for whoever sees no drawing: other formats, and whoever reads the source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

__all__ = ["setup"]


class Drawing(SphinxDirective):
    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        relative, path = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(relative)
        text = "\n".join(self.content)
        elsewhere = addnodes.only(expr="not html")
        elsewhere += nodes.literal_block(text, text)
        return [nodes.raw("", Path(path).read_text(), format="html"), elsewhere]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("drawing", Drawing)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
