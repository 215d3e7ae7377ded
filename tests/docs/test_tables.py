"""What docs/ list by hand is complete: keys, counters, the scripts of the example."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from zxmpp.event import Lifecycle
from zxmpp.sockets import SocketSettings
from zxmpp.sockets.options import DEFAULT_NAMES
from zxmpp.streams import StreamSettings

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
