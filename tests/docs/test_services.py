"""What the pages about services and their wire protocol list by hand is complete and true."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from tests.docs.test_tables import rows
from zxmpp.mdp import Broker, BrokerOptions
from zxmpp.mdp.broker.states import REACTIONS, Reaction
from zxmpp.mdp.errors import _REASONS
from zxmpp.mdp.messages import Command, Meta
from zxmpp.mdp.wire import DIALECTS, V02, Dialect

ROOT = Path(__file__).resolve().parents[2]
HOWTO = ROOT / "docs" / "howto" / "services.md"
PAGE = ROOT / "docs" / "reference" / "mdp.md"
METRICS = ROOT / "docs" / "reference" / "metrics.md"
SOURCES = [file.read_text() for file in (ROOT / "zxmpp" / "mdp").rglob("*.py")]


def found(pattern: str) -> set[str]:
    names = {name for source in SOURCES for name in re.findall(pattern, source)}
    assert names, "the pattern finds nothing any more"
    return names


def section(page: Path, heading: str) -> str:
    """The text from a heading to the next one of its level or above."""
    level = heading.split(maxsplit=1)[0]
    text = page.read_text().split(f"\n{heading}\n", 1)[1]
    return re.split(rf"^#{{2,{len(level)}}} ", text, maxsplit=1, flags=re.MULTILINE)[0]


def frames_of(page_section: str, command: str, way: str) -> list[str]:
    for line in page_section.splitlines():
        cells = [cell.strip().strip('`"') for cell in line.strip("| ").split("|")]
        if cells[:2] in ([command.upper(), way], [command.upper(), "both"]):
            return [cell for cell in cells[2:] if cell and cell not in ("body", "body, or none")]
    raise AssertionError(f"{command} {way} is not on the page")


def as_cells(frames: list[bytes]) -> list[str]:
    """Frames as the tables write them."""
    return [
        "''" if not frame else frame.hex() if frame[0] < 32 or frame[0] > 126 else frame.decode()
        for frame in frames
    ]


def test_every_malformed_message_has_its_reason_explained() -> None:
    table = rows(PAGE)
    counts = rows(METRICS)
    for reason in found(r'Malformed\(\s*"([a-z-]+)"') - found(r'Malformed\("(not-for-[a-z-]+)"'):
        assert reason in table, reason
        assert reason in counts, reason


def test_every_count_is_explained() -> None:
    table = rows(METRICS)
    names = found(r'_complain\([\w.]+, "([a-z-]+)"') | found(r'_unexpected\([^)]*now, "([a-z-]+)"')
    names |= {f"worker-{why}" for why in found(r'\blose\([\w.]+, "([a-z-]+)"')}
    names |= {
        f"unexpected-{command}"
        for (_, command), reaction in REACTIONS.items()
        if reaction is Reaction.UNEXPECTED
    }
    names |= found(r"""counts\["([a-z-]+)"\]""")
    assert not {name for name in names if name not in table}


def test_every_reason_of_no_answer_is_explained() -> None:
    table = rows(HOWTO)
    text = (ROOT / "docs" / "howto" / "errors.md").read_text()
    for reason in {*_REASONS, *found(r'Problem\(\s*"([a-z-]+)"')}:
        assert reason in table, reason
        assert f"`{reason}`" in text, reason


def test_the_times_are_the_brokers() -> None:
    text = section(PAGE, "## Timing")
    fields = {field.name: field.default for field in msgspec.structs.fields(BrokerOptions)}
    for key in ("heartbeat", "liveness", "lease", "timeout", "attempts"):
        row = next(line for line in text.splitlines() if line.endswith(f"| `{key}` |"))
        assert re.search(rf"\| {fields[key]:g}\b", row), row


@pytest.mark.parametrize("dialect", [DIALECTS["0.1"], V02], ids=["0.1", "0.2"])
def test_the_frames_of_workers_are_those_of_the_code(dialect: Dialect) -> None:
    text = section(PAGE, f"## MDP/{dialect.name}")
    to_broker, to_worker = "worker to broker", "broker to worker"
    final = "final" if dialect.has_partial else "reply"
    name, address = b"service", b"address"
    for command, way, frames in [
        ("ready", to_broker, dialect.ready(name)),
        ("request", to_worker, dialect.request(address, [])),
        (final, to_broker, dialect.reply(Command.FINAL, address, [])),
        ("heartbeat", to_worker, dialect.heartbeat),
        ("disconnect", to_broker, dialect.disconnect),
        ("request", "client to broker", dialect.client_request(name, [])),
        (final, "broker to client", dialect.client_final(name, [])),
    ]:
        assert frames_of(text, command, way) == as_cells(frames), command
    if dialect.has_partial:
        frames = dialect.reply(Command.PARTIAL, address, [])
        assert frames_of(text, "partial", to_broker) == as_cells(frames)
        frames = dialect.client_partial(name, [])
        assert frames_of(text, "partial", "broker to client") == as_cells(frames)


@pytest.mark.parametrize("command", Command)
def test_the_extended_commands_are_those_of_the_code(command: Command) -> None:
    for who, name, extended in (
        ("worker", b"address", V02.extended),
        ("client", b"service", V02.client_extended),
    ):
        try:
            code = extended(command, name, b"{}")[1].hex()
        except KeyError:
            continue  # it has no extended form there
        text = section(PAGE, f"### {who.capitalize()}s and the broker")
        ways = {f"{who} to broker", f"broker to {who}"}
        lines = [
            line.split(" | ") for line in text.splitlines() if f"| {command.upper()} |" in line
        ]
        assert {cells[3].strip("`") for cells in lines} == {code}
        assert {cells[1] for cells in lines} <= ways


def test_every_field_of_the_broker_s_own_services_is_explained() -> None:
    broker = Broker(BrokerOptions(attempts=1))
    for worker in (b"dies", b"lives"):
        broker.receive(worker, [b"MDPW02", b"\x81", b"shout", b"{}"], False, 0.0)
    broker.receive(b"client", [b"MDPC01", b"shout", b"deadly"], True, 0.0)
    broker.gone(b"dies", 0.0)
    text = section(PAGE, "## Management: `mmi.`")
    for name in (b"mmi.services", b"mmi.workers", b"mmi.broker", b"mmi.dead"):
        broker.receive(b"client", [b"MDPC01", name, b""], True, 0.0)
        said = msgspec.json.decode(broker.outgoing.frames[-1][-1])
        fields = said[0] if isinstance(said, list) else said
        assert fields
        for field in fields:
            assert f"`{field}`" in text, field


def test_every_key_of_meta_names_the_messages_that_have_it() -> None:
    text = section(PAGE, "## Our extension")
    used = {
        field
        for line in text.splitlines()
        if (meta := re.search(r"Meta: ((?:`\w+` ?)+)", line))
        for field in re.findall(r"\w+", meta[1])
    }
    assert used == set(Meta.__struct_fields__)
