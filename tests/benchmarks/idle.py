"""What an idle bot costs: CPU, context switches, memory; beside a bare slixmpp component.

``python tests/benchmarks/idle.py [--json] [--quick]``

Both are components of one private Prosody, each in a process of its own. The zxmpp one has the
sockets and plugins of a small bot: a PULL, a ROUTER, help, echo and relay. After a pause to settle,
the kernel's counts over a minute (``--quick``: 10 seconds) are compared. See proc(5).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from harness import memory, options, report

from zxmpp.testing.servers import Prosody

ZXMPP = """
import asyncio, os, sys
from zxmpp import App
from zxmpp.config import parse
async def main():
    async with App(parse(f'''
[streams.bot]
kind = "component"
jid = "zxmpp.localhost"
host = "127.0.0.1"
port = {sys.argv[1]}
[sockets.alerts]
type = "PULL"
bind = "tcp://127.0.0.1:*"
[sockets.jobs]
type = "ROUTER"
bind = "tcp://127.0.0.1:*"
[plugins.help]
[plugins.echo]
[[plugins.relay.routes]]
socket = "alerts"
to = ["alice@localhost"]
''')) as app:
        await app.online()
        print("online", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""

SLIXMPP = """
import asyncio, os, sys
from slixmpp import ComponentXMPP
async def main():
    xmpp = ComponentXMPP("slixmpp.localhost", os.environ["ZXMPP_BOT_SECRET"], "127.0.0.1",
                         int(sys.argv[1]))
    for plugin in ("xep_0030", "xep_0045", "xep_0092", "xep_0199", "xep_0203", "xep_0359"):
        xmpp.register_plugin(plugin)
    xmpp.add_event_handler("session_start", lambda _: print("online", flush=True))
    xmpp.connect()
    await asyncio.Event().wait()
asyncio.run(main())
"""

TICK = os.sysconf("SC_CLK_TCK")


def costs(pid: int) -> tuple[float, int, float]:
    """CPU seconds, context switches, and memory (proportional set size, MiB) of a process."""
    proc = Path(f"/proc/{pid}")
    stat = (proc / "stat").read_text().rpartition(")")[2].split()
    cpu = (int(stat[11]) + int(stat[12])) / TICK
    switches = 0
    for task in (proc / "task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if "ctxt_switches" in line:
                switches += int(line.split()[1])
    return cpu, switches, memory(pid).pss


def main() -> None:
    arguments = options("what an idle bot costs")
    seconds = 10 if arguments.quick else 60
    secrets = {"zxmpp.localhost": "one", "slixmpp.localhost": "two"}
    figures: dict[str, object] = {"seconds": seconds}
    memory = {}
    children: dict[str, subprocess.Popen[str]] = {}
    with Prosody(components=secrets) as server:
        try:
            for name, script in (("zxmpp", ZXMPP), ("slixmpp", SLIXMPP)):
                child = children[name] = subprocess.Popen(
                    [sys.executable, "-c", script, str(server.component_port)],
                    env={**os.environ, "ZXMPP_BOT_SECRET": secrets[f"{name}.localhost"]},
                    stdout=subprocess.PIPE,
                    text=True,
                )
                if child.stdout is None or child.stdout.readline().strip() != "online":
                    raise SystemExit(f"{name} did not come online")
            time.sleep(3)
            before = {name: costs(child.pid) for name, child in children.items()}
            time.sleep(seconds)
            for name, child in children.items():
                cpu, switches, pss = costs(child.pid)
                figures[f"{name}_cpu_seconds"] = round(cpu - before[name][0], 3)
                figures[f"{name}_context_switches"] = switches - before[name][1]
                figures[f"{name}_memory_mib"] = round(pss, 1)
                memory[name] = pss
        finally:
            for child in children.values():
                child.kill()
                child.wait()
    report(arguments, figures, {"memory_vs_slixmpp": memory["zxmpp"] / memory["slixmpp"]})


if __name__ == "__main__":
    main()
