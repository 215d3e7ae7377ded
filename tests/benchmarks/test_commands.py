"""What the benchmark of commands stands on: that each bot answers what it is asked, and what counts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.benchmarks.command_peers.turns import answered

ROOT = Path(__file__).parents[2]
PEERS = Path(__file__).with_name("command_peers")
#: Seconds after which something is broken.
LIMIT = 60


def talk(*command: str, environment: Mapping[str, str] | None = None) -> list[tuple[float, int]]:
    """Rate and wrong answers of one round of each case."""
    done = subprocess.run(
        command, input="pipelined 20\nalone 20\n", capture_output=True, text=True, timeout=LIMIT,
        check=True, env=environment,
    )  # fmt: skip
    ready, *rounds = done.stdout.splitlines()
    assert ready == "ready"
    return [(float(rate), int(wrong)) for rate, wrong in map(str.split, rounds)]


def test_zxmpp_answers_all_in_both_cases() -> None:
    rounds = talk(sys.executable, str(PEERS / "zxmpp_bot.py"))
    assert [wrong for _, wrong in rounds] == [0, 0]
    assert all(rate > 0 for rate, _ in rounds)


# It needs no server, but PyPI.
@pytest.mark.live
@pytest.mark.parametrize("level", ["DEBUG", "WARNING"])
def test_errbot_answers_in_both_cases(level: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [ROOT / ".ci/install-errbot"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f".ci/install-errbot failed; it needs PyPI:\n{done.stderr}"
    python = str(ROOT / ".venv-errbot/bin/python")
    rounds = talk(
        python, str(PEERS / "errbot_bot.py"), level, environment={"TMPDIR": str(tmp_path)}
    )
    assert len(rounds) == 2
    assert all(rate > 0 for rate, _ in rounds)


@pytest.mark.parametrize(
    ("answers", "wrong"),
    [
        (["message 0", "message 1", "message 2"], 0),
        (["message 2", "message 0", "message 1"], 0),
        (["message 0", "message 2"], 1),
        (["message 0", "message 0", "message 2"], 1),
        (["message 0", "Computer says nooo.", "message 2"], 1),
        ([], 3),
    ],
)
def test_wrong_answers_are_counted_in_whatever_order(answers: list[str], wrong: int) -> None:
    assert answered(lambda case, words: answers, "pipelined", 3).split()[1] == str(wrong)


def test_waiting_for_an_answer_that_never_comes_is_not_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)

    def run(case: str, words: list[str]) -> Iterator[str]:
        nonlocal now
        for word in words[:2]:
            now += 1
            yield word
        now += 100

    assert answered(run, "alone", 3) == "1.0 1"
