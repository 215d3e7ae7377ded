"""Run a command as a unit would: with what its [Service] section asks of the kernel.

``sandbox.py UNIT COMMAND ...``, for SystemCallFilter, RestrictAddressFamilies, RestrictRealtime,
MemoryDenyWriteExecute and NoNewPrivileges. What concerns files and users wants systemd itself.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

#: prctl(2); seccomp_init(3).
PR_SET_NO_NEW_PRIVS, PR_SET_MDWE, REFUSE_EXEC_GAIN = 38, 65, 1
ALLOW, REFUSE = 0x7FFF0000, 0x00050000
EQUAL = 4


class Comparison(ctypes.Structure):
    """``struct scmp_arg_cmp``"""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64),
                ("b", ctypes.c_uint64))  # fmt: skip


class Filter:
    """A filter of system calls; `otherwise` is what becomes of those that no rule is about."""

    def __init__(self, otherwise: int) -> None:
        self._library = ctypes.CDLL("libseccomp.so.2")
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.seccomp_init(otherwise))
        assert self._context

    def add(self, action: int, name: str, *comparisons: Comparison) -> None:
        number = self._library.seccomp_syscall_resolve_name(name.encode())
        array = (Comparison * len(comparisons))(*comparisons)
        self._library.seccomp_rule_add_array(self._context, action, number, len(comparisons), array)

    def load(self) -> None:
        assert self._library.seccomp_load(self._context) == 0


def values(unit: Path, key: str) -> list[str]:
    """What stands behind ``key=`` in `unit`, line by line."""
    lines = unit.read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")]


def calls(group: str) -> set[str]:
    """The system calls in `group`, as systemd has it."""
    if not group.startswith("@"):
        return {group}
    shown = subprocess.run(
        ["systemd-analyze", "--no-pager", "syscall-filter", group],
        capture_output=True, text=True, check=True, timeout=30,
    ).stdout  # fmt: skip
    lines = [line.strip() for line in shown.splitlines()[1:]]
    return set().union(*(calls(line) for line in lines if line and line[0] != "#"))


def allowed(unit: Path) -> set[str]:
    """The system calls that `unit` leaves: what systemd needs to start it is always there."""
    left = calls("@default") | {"execve"}
    for value in values(unit, "SystemCallFilter"):
        named = set().union(*(calls(word) for word in value.removeprefix("~").split()))
        left = left - named if value.startswith("~") else left | named
    return left


def confine(unit: Path) -> None:
    """Give up, for good, what `unit` does not leave."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert values(unit, "NoNewPrivileges") == ["yes"]
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert values(unit, "MemoryDenyWriteExecute") == ["yes"]
    # Linux 6.3; systemd itself takes a filter where there is no such thing.
    assert libc.prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0) == 0, os.strerror(ctypes.get_errno())

    # As systemd does: what is refused by its arguments first, with an error of its own.
    by_arguments = Filter(ALLOW)
    [families] = values(unit, "RestrictAddressFamilies")
    left = {int(getattr(socket, family)) for family in families.split()}
    for family in set(range(46)) - left:
        by_arguments.add(REFUSE | errno.EAFNOSUPPORT, "socket", Comparison(0, EQUAL, family, 0))
    assert values(unit, "RestrictRealtime") == ["yes"]
    for policy in set(range(8)) - {os.SCHED_OTHER, os.SCHED_BATCH, os.SCHED_IDLE}:
        by_arguments.add(
            REFUSE | errno.EPERM, "sched_setscheduler", Comparison(1, EQUAL, policy, 0)
        )
    by_name = Filter(REFUSE | errno.EPERM)
    for name in allowed(unit):
        by_name.add(ALLOW, name)
    by_arguments.load()
    by_name.load()


if __name__ == "__main__":
    confine(Path(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
