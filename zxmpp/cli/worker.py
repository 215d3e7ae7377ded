"""``zxmpp worker``: a function of a module as a service of a broker.

Rules:
- The function is named ``module:function``; the current folder can be imported from.
- What is wrong with the module, the function or an option is a ConfigError with the remedy, before
  anything is connected.
- SIGTERM and SIGINT finish what runs; a second signal, or the end of the drain, waits for nothing: not
  for a thread that can't be stopped either.
"""

from __future__ import annotations

import difflib
import importlib
import logging
import multiprocessing
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from zxmpp.errors import ConfigError
from zxmpp.mdp import Worker
from zxmpp.sockets import SocketSettings
from zxmpp.sockets.address import check_address

__all__ = ["find_function", "leave", "read_options", "summary"]

log = logging.getLogger(__name__)

#: Seconds that threads which have nothing to do may take to end.
THREADS_END = 0.5

#: Keys of a socket's table that are arguments of their own, or not the user's.
_OWN = {"type", "connect", "bind", "monitor", "subscribe", "reply_timeout"}


def find_function(place: str) -> Callable[..., Any]:
    """The function at ``module:function``. ConfigError says what there is instead."""
    module_name, _, name = place.partition(":")
    if not module_name or not name:
        raise ConfigError(f"{place!r} names no function; write it as module:function")
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module = _imported(module_name)
    found = getattr(module, name, None)
    if found is None:
        near = difflib.get_close_matches(name, [key for key in vars(module) if key[0] != "_"], 1)
        hint = f"did you mean {near[0]}?" if near else "is it defined under another name?"
        raise ConfigError(f"module {module_name!r} has no {name!r}; {hint}")
    if isinstance(found, Worker):
        raise ConfigError(
            f"{place} is a Worker, with a service and a broker of its own; name the function that it "
            f"decorates, or start the module itself and let it call {name}.run()"
        )
    if not callable(found):
        raise ConfigError(f"{place} is a {type(found).__name__}, not a function; name a function")
    function: Callable[..., Any] = found
    return function


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(
                f"there is no module {name!r}; it must be installed, or stand in the folder that the "
                f"command is started in ({os.getcwd()})"
            ) from None
        raise ConfigError(f"module {name!r} can't be imported: {error}; install that") from error
    except (Exception, SystemExit) as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise ConfigError(
            f"module {name!r} can't be imported: {type(error).__name__}: {error} ({where.filename}, "
            f"line {where.lineno}); mend that, or guard it by if __name__ == '__main__'"
        ) from error


def read_options(connect: str, options: Sequence[str]) -> tuple[dict[str, Any], SocketSettings]:
    """The table that ``--option KEY=VALUE ...`` makes, and the socket that it means. ConfigError."""
    if problem := check_address(connect, bind=False):
        raise ConfigError(f"--connect {connect!r} {problem}")
    table: dict[str, Any] = {}
    for option in options:
        key, equals, value = option.partition("=")
        low = key.lower().replace("-", "_").removeprefix("zmq_")
        if not key or not equals:
            # What stands there may be a secret: it is not shown.
            raise ConfigError("--option wants KEY=VALUE, as in --option sndhwm=1000")
        if low in _OWN:
            raise ConfigError(f"--option {key} can't be set here; --connect says where to connect")
        if low in table:
            raise ConfigError(f"--option {key} is there twice; keep one of them")
        table[low] = _value(value)
    try:
        settings = SocketSettings.from_table(
            "option", {"type": "DEALER", "connect": connect, **table}
        )
    except ConfigError as error:
        raise ConfigError(str(error).replace("[sockets.option]", "--option")) from None
    return table, settings


def _value(text: str) -> int | float | bool | str:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def summary(worker: Worker) -> str:
    """What it did, in numbers."""
    counts = ", ".join(f"{name} {count}" for name, count in sorted(worker.counts.items()) if count)
    return counts or "nothing was asked"


def leave(status: int) -> None:
    """End the process now if something is left that would hold up its end: a job in a thread."""
    for child in multiprocessing.active_children():
        child.terminate()
    for thread in threading.enumerate():
        if thread is threading.main_thread() or thread.daemon:
            continue
        thread.join(THREADS_END)
        if thread.is_alive():
            log.warning("what still runs in a thread ends with the process")
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
