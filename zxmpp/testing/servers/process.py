"""One server process: started, watched by its log, ended by its pid.

Rules:
- No threads, no child watcher, no event loop: a wait is a generator that yields how long to
  sleep, in seconds, and the caller sleeps as it likes (`asyncio.sleep` or `time.sleep`). So a
  server may be started in one loop and stopped in another, or without any.
- A process is ended by its id only, and never outlives the Python process that started it.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

__all__ = ["PAUSE_S", "Process", "tied_to_this_process"]

#: How long a wait sleeps before it looks again, in seconds.
PAUSE_S = 0.01


class Process:
    """A child process whose output is appended to `log_path`."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        log_path: Path,
    ) -> None:
        self._log_path = log_path
        #: Where in the log this run begins, in bytes: earlier runs are of no interest.
        self._log_start = log_path.stat().st_size if log_path.exists() else 0
        with log_path.open("ab") as output:
            self._popen = subprocess.Popen(
                [*tied_to_this_process(), *command],
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal is for the tests, not for their server.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        return self._popen.poll()

    def log(self) -> str:
        """What this run wrote so far."""
        with self._log_path.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode("utf-8", "replace")

    def terminate(self, timeout: float) -> Iterator[float]:
        """Ask the process to end; after `timeout` seconds kill it. Yields pauses."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + timeout
        while self._popen.poll() is None and time.monotonic() < deadline:
            yield PAUSE_S
        self.kill()

    def kill(self) -> None:
        """SIGKILL, and collect the exit code: when this returns, the process is gone."""
        if self._popen.poll() is None:
            self._popen.kill()
        # A killed process is gone within milliseconds; only a broken kernel would wait longer.
        self._popen.wait(timeout=30)


def tied_to_this_process() -> list[str]:
    """A prefix that has the kernel kill the child if this process dies (prctl(2), PDEATHSIG).

    The kernel means the *thread* that made the child, so it is only used in the main thread.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return []
    return [setpriv, "--pdeathsig", "KILL"]
