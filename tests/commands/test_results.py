"""What commands return, as data: what is wrong with it is said where it is made."""

from __future__ import annotations

import pytest

from zxmpp import File, Progress, Table
from zxmpp.commands.results import as_data, as_text


@pytest.mark.parametrize("row", [["a"], ["a", 1, 2], []])
def test_a_row_has_a_cell_for_each_column(row: list[object]) -> None:
    with pytest.raises(ValueError, match=rf"row 2 of a Table has {len(row)} cells"):
        Table(["name", "n"], [["x", 1], row])


@pytest.mark.parametrize(
    ("table", "text"),
    [
        (Table([], []), ""),
        (Table(["a"], []), "a"),
        (Table(["a", ""], [["x\ny\0", None]], "T"), "T\na\nx y\0"),
        (Table(["a", "b"], [["\t ", 1]]), "a  b\n   1"),
    ],
)
def test_a_table_as_text(table: Table, text: str) -> None:
    assert as_text(table) == text


@pytest.mark.parametrize("name", ["", "a/b", "/", "../x", "a\0b", "a\nb", "\u202egnp.exe"])
def test_what_is_no_name_of_a_file(name: str) -> None:
    with pytest.raises(ValueError, match="is no file's name"):
        File(name, b"")


@pytest.mark.parametrize("fraction", [-1.0, 0.0, 0.5, 1.0, 7.0, float("nan"), float("inf")])
def test_any_fraction_has_a_bar(fraction: float) -> None:
    assert len(Progress(fraction).bar.split()[0]) == 20


@pytest.mark.parametrize("piece", [5, b"x", ["a"], object()])
def test_what_is_no_result_is_named(piece: object) -> None:
    for reading in (as_text, as_data):
        with pytest.raises(TypeError, match=f"can't return {type(piece).__name__}"):
            reading(piece)
