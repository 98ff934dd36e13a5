"""Tables in common formats: separators, headers and index columns; errors name the row and column."""

import logging

import numpy as np
import pandas as pd
import pytest

from plumbline.datasets._download import DataFileError
from plumbline.storage.tables import numbers_of, read_table

TABLE = pd.DataFrame({"a": [0.5, -1.25, 3e-7], "b": [1, 2, 3]})


def written(path, text, encoding="utf-8"):
    path.write_text(text, encoding=encoding)
    return path


@pytest.mark.parametrize(
    "keys",
    [{}, {"sep": ";"}, {"sep": ";", "decimal": ","}, {"encoding": "utf-8-sig"}, {"lineterminator": "\r\n"}],
    ids=str,
)
def test_the_same_numbers_come_from_every_dialect(tmp_path, keys):
    TABLE.to_csv(tmp_path / "t.csv", index=False, **keys)
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.csv"), TABLE)


def test_quoted_names_may_hold_separators(tmp_path):
    path = written(tmp_path / "t.csv", '"a;x","b,y"\n1,2\n')
    assert read_table(path).columns.tolist() == ["a;x", "b,y"]


def test_an_index_column_is_left_out_and_named(tmp_path, caplog):
    TABLE.to_csv(tmp_path / "t.csv")
    with caplog.at_level(logging.INFO, "plumbline.storage"):
        pd.testing.assert_frame_equal(read_table(tmp_path / "t.csv"), TABLE)
    assert "first column numbers the rows and is left out" in caplog.text
    TABLE.set_index(pd.Index(["x", "y", "z"])).to_csv(tmp_path / "t.csv")
    with pytest.raises(DataFileError, match="first column has no name and does not number the rows"):
        read_table(tmp_path / "t.csv")
    TABLE.set_index(pd.Index(["x", "y", "z"], name="who")).to_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").columns.tolist() == ["who", "a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.5,1\n0.25,2\n", "has no header"),
        ("2020-01-01,0.5\n2020-01-02,1\n", "has no header"),
        ("0,1,2\n3,4,5\n", "has no header"),
        ("a;b,c\n1;2\n", "found commas and semicolons"),
        ("a\tb\n1\t2\n", "found tabs"),
        ("a,b,a\n1,2,3\n", "2 columns have the name 'a'"),
        ("a,,c\n1,2,3\n", "column 2 has no name"),
        ("# a,b\n1,2\n", "begins with #"),
        ("a,b\n1,2\n1,2,3\n", r"Row #3: Expected 2 columns, got 3"),
        ("a,b\n1,2\n1\n", r"Row #3: Expected 2 columns, got 1"),
        ("", "found 0 lines"),
    ],
)
def test_what_is_ambiguous_is_refused(tmp_path, text, message):
    with pytest.raises(DataFileError, match=message):
        read_table(written(tmp_path / "t.csv", text))


def test_other_encodings_and_suffixes_are_named(tmp_path):
    with pytest.raises(DataFileError, match="is not UTF-8"):
        read_table(written(tmp_path / "t.csv", "größe,b\n1,2\n", "latin-1"))
    with pytest.raises(DataFileError, match=r"suffix \.xlsx, expected the suffix of a table"):
        read_table(written(tmp_path / "t.xlsx", "a"))
    with pytest.raises(DataFileError, match="cannot be read as a Parquet file"):
        read_table(written(tmp_path / "t.parquet", "a"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n1,x\n", r"column 'b', row 2: expected a number, found 'x' \(1 of 2"),
        ("a,b\n,2\n1,3\n", r"column 'a', row 1: expected a number, found a missing value"),
        ("a,b\n1,2\ninf,3\n", r"column 'a', row 2: expected a number, found 'inf'"),
        ("a;b\n1,5;2\n1.5;3\n", r"column 'a', row 1: expected a number, found '1,5'"),
        ("a,b\n1,true\n2,false\n", r"column 'b', row 1: expected a number, found 'True'"),
    ],
)
def test_what_is_no_number_is_named(tmp_path, text, message):
    path = written(tmp_path / "t.csv", text)
    with pytest.raises(DataFileError, match=message):
        numbers_of(path, read_table(path), "fill it in")


def test_lists_are_no_numbers(tmp_path):
    pd.DataFrame({"a": [[1, 2], [3]]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataFileError, match=r"column 'a', row 1: expected a number, found '\[1 2\]'"):
        numbers_of(tmp_path / "t.parquet", read_table(tmp_path / "t.parquet"), "leave it out")


def test_whole_numbers_before_fractions_stay_numbers(tmp_path):
    """Types are those of the whole column, even where it is longer than the part a reader samples first."""
    lines = ["1234567,7\n"] * 200_000 + ["0.5,8\n"]
    path = written(tmp_path / "t.csv", "a,b\n" + "".join(lines))
    values = numbers_of(path, read_table(path), "fill it in")
    assert np.array_equal(values[-1], [0.5, 8]) and values.shape == (200_001, 2)
