"""Import plugins' modules anew, beside those that run.

Rules:
- A module, and if it is a package all that is in it, is imported anew; nothing else is.
- What cannot be imported changes nothing: the modules from before are put back, as `undo` does later.
- Source is compiled, never taken from cached bytecode: that goes by whole seconds, and would miss the
  second of two quick edits.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import ModuleType
from typing import Any, Self, TypeAlias

from zxmpp.errors import PluginError

__all__ = ["Fresh", "Stamps", "place_of", "related", "stamps"]

#: The files of a module, each with what tells whether it was changed.
Stamps: TypeAlias = "dict[str, tuple[int, int, int]]"

#: Where the frames of an import are that say nothing of what is wrong.
_IMPORTERS = ("<frozen ", os.path.dirname(traceback.__file__) + "/importlib/", __file__)


def _within(name: str, modules: Iterable[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def related(one: str, other: str) -> bool:
    """Whether one of two modules is, or is in, the other: they are imported anew together."""
    return _within(one, (other,)) or _within(other, (one,))


def stamps(module: str) -> Stamps:
    """The files that `module`, and what is in it, was imported from, as they are now. One that is
    missing, as while an editor writes it, is left out."""
    found: Stamps = {}
    for name, known in list(sys.modules.items()):
        if _within(name, (module,)) and (path := getattr(known, "__file__", None)) is not None:
            with suppress(OSError):
                status = os.stat(path)
                found[path] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return found


class Fresh:
    """`modules`, imported anew. PluginError says what is wrong, with file and line; then, and if the
    body of a ``with`` raises, the old ones are put back."""

    def __init__(self, modules: Collection[str]) -> None:
        self._modules = modules
        self._old = {name: sys.modules[name] for name in list(sys.modules) if self._ours(name)}
        #: As they were before they were read: what is written meanwhile is a change.
        self.stamps = {module: stamps(module) for module in modules}
        finder = _Finder(modules)
        for name in self._old:
            del sys.modules[name]
        importlib.invalidate_caches()
        sys.meta_path.insert(0, finder)
        try:
            for module in modules:
                self._import(module)
        except BaseException:
            self.undo()
            raise
        finally:
            # What was imported may have changed the list.
            with suppress(ValueError):
                sys.meta_path.remove(finder)
        for module, old in self.stamps.items():
            self.stamps[module] = stamps(module) | old

    def _ours(self, name: str) -> bool:
        return _within(name, self._modules)

    def _import(self, module: str) -> None:
        try:
            importlib.import_module(module)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            # Of a cancellation, too: nothing is awaited here, so it is the module's own.
            raise PluginError(
                f"module {module!r} can't be imported: {place_of(error)}{type(error).__name__}: {error}"
            ) from error

    def undo(self) -> None:
        """Put the modules from before back."""
        for name in list(sys.modules):
            if self._ours(name):
                del sys.modules[name]
        sys.modules.update(self._old)
        for name, module in self._old.items():
            package, _, child = name.rpartition(".")
            if package in sys.modules:
                setattr(sys.modules[package], child, module)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.undo()


def place_of(error: BaseException, file: str | None = None) -> str:
    """``FILE:LINE: `` of what `error` is about: the innermost line of `file`, or else of any module
    but those that import others; empty if that is not known."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: "
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame for frame in frames if frame.filename == file] or [
        frame for frame in frames if not frame.filename.startswith(_IMPORTERS)
    ]
    return f"{lines[-1].filename}:{lines[-1].lineno}: " if lines else ""


class _Source(SourceFileLoader):
    """Reads source only: without the file's times there is no bytecode to trust."""

    def path_stats(self, path: Any) -> Mapping[str, Any]:
        raise OSError("bytecode is not looked at")


class _Finder(MetaPathFinder):
    """Finds what the others find, and lets it be read from source."""

    def __init__(self, modules: Collection[str]) -> None:
        self._modules = modules

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not _within(name, self._modules):
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(name, path, target)) is not None:
                if type(spec.loader) is SourceFileLoader:
                    spec.loader = _Source(spec.loader.name, spec.loader.path)
                return spec
        return None
