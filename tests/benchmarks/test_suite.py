"""The suite of benchmarks: what it takes from each, what it shows. The measuring is not tested."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import suite
from tests.benchmarks.plots import draw

HERE = Path(suite.__file__).parent
MAIN = "\nif __name__ == "


def result(**keys: Any) -> dict[str, Any]:
    return {"benchmark": "streams", "figures": {"one": 1}, "ratios": {"in_39_vs_stock": 6}, **keys}


def test_every_script_is_a_benchmark_of_the_suite() -> None:
    scripts = {path.stem for path in HERE.glob("*.py") if MAIN in path.read_text()}
    assert scripts - {"suite", "plots"} == set(suite.BENCHMARKS)


def test_targets_are_of_benchmarks_there_are() -> None:
    assert set(suite.TARGETS) <= set(suite.BENCHMARKS)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("", "did not print one JSON object"),
        ("rate 12", "did not print one JSON object"),
        ('{"figures": {"a": 1}, "ratios": {"b": 1}}\n{}', "did not print one JSON object"),
        ("[1]", "printed a list"),
        ('{"figures": {"a": 1}}', "no 'ratios'"),
        ('{"figures": {}, "ratios": {"b": 1}}', "no 'figures'"),
        ('{"figures": {"a": 1}, "ratios": {"b": "much"}}', "ratio 'b' is no number"),
    ],
)
def test_output_that_is_not_as_agreed_is_named(output: str, message: str) -> None:
    with pytest.raises(suite.Failed, match=message):
        suite.read_result(output)


def test_the_table_says_which_targets_are_missed() -> None:
    ratios = {"in_39_vs_stock": 5.0, "inout_39_vs_stock": 3.4, "growth_0_to_39": 1.31, "other": 2}
    lines = [line.split() for line in suite.table([result(ratios=ratios)]).splitlines()[1:]]
    assert lines == [
        ["streams", "in_39_vs_stock", "5.00", ">=", "5"],
        ["streams", "inout_39_vs_stock", "3.40", ">=", "3.5", "missed"],
        ["streams", "growth_0_to_39", "1.31", "<=", "1.3", "missed"],
        ["streams", "other", "2.00"],
    ]


def test_the_columns_of_the_table_stand_below_each_other() -> None:
    lines = suite.table([result(), result(ratios={"b": 10_000.0})]).splitlines()
    assert len({line.index(f) + len(f) for line, f in zip(lines, ("figure", "6.00", "10,000.00"),
                                                          strict=True)}) == 1  # fmt: skip


def script(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(text)


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of benchmarks: one that works, and two that don't."""
    monkeypatch.setattr(suite, "HERE", tmp_path)
    monkeypatch.setattr(suite, "BENCHMARKS", {"wrong": (), "dies": (), "right": ("--servers",)})
    monkeypatch.setattr(suite, "draw", lambda results, folder: [])
    script(tmp_path, "wrong", "print('fine')")
    script(tmp_path, "dies", "raise SystemExit('no server here')")
    good = (
        'import sys; print(\'{"figures": {"arguments": %d}, "ratios": {"a": 2}}\' % len(sys.argv))'
    )
    script(tmp_path, "right", good)
    return tmp_path


def test_one_that_fails_is_named_and_the_others_go_on(
    scripts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert suite.main(["--folder", str(scripts / "out")]) == 1
    output = capsys.readouterr()
    assert output.out.splitlines()[1].split() == ["right", "a", "2.00"]
    assert "benchmark wrong: it did not print one JSON object" in output.err
    assert "benchmark dies: it ended with 1\n    no server here" in output.err
    assert "failed: wrong, dies" in output.err
    assert [path.name for path in (scripts / "out").iterdir()] == ["right.json"]


def test_the_json_says_the_command_that_was_run(
    scripts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = scripts / "out"
    assert suite.main(["right", "--folder", str(folder)]) == 0
    text = (folder / "right.json").read_text()
    quick = json.loads(text)
    assert quick["command"] == "python tests/benchmarks/right.py --json --quick"
    assert quick["figures"] == {"arguments": 3}
    assert str(scripts) not in text
    assert suite.main(["right", "--full", "--folder", str(folder)]) == 0
    full = json.loads((folder / "right.json").read_text())
    assert full["command"] == "python tests/benchmarks/right.py --json --servers"


def test_a_name_that_is_no_benchmark_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        suite.main(["stream"])
    assert "no benchmark stream; there are sockets" in capsys.readouterr().err


def test_a_plot_is_drawn_of_what_there_is(tmp_path: Path) -> None:
    names = ("pipeline", "bare", "aiozmq", "zmq_asyncio", "zmq_anyio")
    figures = {f"{name}_messages_per_second": 1000.0 for name in names}
    drawn = draw([{"benchmark": "sockets", "figures": figures}], tmp_path)
    assert [path.name for path in drawn] == ["sockets.png"]
    first = drawn[0].read_bytes()
    assert first.startswith(b"\x89PNG")
    draw([{"benchmark": "sockets", "figures": figures}], tmp_path)
    assert drawn[0].read_bytes() == first
