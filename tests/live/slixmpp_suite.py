"""Run slixmpp's own tests, with its streams or with zxmpp's in their place. A script:

    python slixmpp_suite.py (stock|zxmpp) FOLDER (tests|itests) [ADDRESS PORTS]

It prints, on its last line, a JSON object: each test's name and how it ended. PORTS is a JSON object
that says where on ADDRESS a private server has what the tests look for on the usual ports.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import sys
import unittest
import warnings
from pathlib import Path
from typing import Any

import slixmpp
import slixmpp.clientxmpp
import slixmpp.componentxmpp
import slixmpp.xmlstream.xmlstream


class Outcomes(unittest.TextTestResult):
    """How each test ended."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.outcomes: dict[str, str] = {}

    def addSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().addSuccess(test)
        self.outcomes[test.id()] = "passed"

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        super().addFailure(test, err)
        self.outcomes[test.id()] = "failed"

    def addError(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        super().addError(test, err)
        self.outcomes[test.id()] = "error"

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:  # noqa: N802
        super().addSkip(test, reason)
        self.outcomes[test.id()] = "skipped"

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        super().addExpectedFailure(test, err)
        self.outcomes[test.id()] = "failed as expected"


def put_ours_in_place() -> None:
    """Before anything of slixmpp's tests is imported."""
    import zxmpp.streams as ours

    for module in (slixmpp, slixmpp.clientxmpp, slixmpp.componentxmpp):
        for name in ("ClientXMPP", "ComponentXMPP"):
            if hasattr(module, name):
                setattr(module, name, getattr(ours, name))


def redirect(address: str, ports: dict[int, int]) -> None:
    """Lead connections to the private server."""

    async def resolve(host: str, port: int, **options: Any) -> list[tuple[str, str, str, int]]:
        return [("", host, address, port)]

    slixmpp.xmlstream.xmlstream.resolve = resolve  # type: ignore[assignment]
    connect: Any = asyncio.BaseEventLoop.create_connection

    async def create_connection(
        self: Any, protocol: Any, host: Any = None, port: Any = None, **options: Any
    ) -> Any:
        if host is None:
            # Of aiohttp, with a socket of its own.
            return await connect(self, protocol, **options)
        made = await connect(self, protocol, address, ports.get(port, port), **options)
        # Some tests look at what port they are connected to.
        transport = getattr(made[0], "_ssl_protocol", made[0])
        transport = getattr(transport, "_transport", transport)
        transport._extra["peername"] = (address, port)
        return made

    asyncio.BaseEventLoop.create_connection = create_connection  # type: ignore[method-assign]


def main(streams: str, folder: str, part: str, address: str = "", ports: str = "{}") -> None:
    if streams == "zxmpp":
        put_ours_in_place()
    if address:
        redirect(address, {int(port): own for port, own in json.loads(ports).items()})
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    sys.path.insert(0, folder)
    suite = unittest.TestSuite()
    for path in sorted(Path(folder, part).glob("test_*.py")):
        suite.addTest(importlib.import_module(f"{part}.{path.stem}").suite)
    runner = unittest.TextTestRunner(resultclass=Outcomes, verbosity=2)
    result: Any = runner.run(suite)
    print(json.dumps(result.outcomes))


if __name__ == "__main__":
    main(*sys.argv[1:])
