"""The page and `plumbline table` state where different versions of the library made parts of a comparison."""

from plumbline.cli import main
from plumbline.reporting.page import section, write_page
from plumbline.storage.origins import as_attribute
from plumbline.storage.store import write_store

MADE = [("the dataset", "0.1.0, commit aaaaaaaaaa"), ("samples of projected", "0.1.0, commit bbbbbbbbbb")]


def test_both_say_what_each_state_made(comparison, tmp_path, capsys):
    mixed = comparison.assign_attrs(origins=as_attribute(MADE))
    write_store(mixed, tmp_path / "comparison.zarr")
    write_page([tmp_path / "comparison.zarr"], tmp_path / "report.html")
    assert main(["table", str(tmp_path / "comparison.zarr")]) == 0
    said = "commit aaaaaaaaaa made the dataset; 0.1.0, commit bbbbbbbbbb made samples of projected"
    out, err = capsys.readouterr()
    assert said in err and said not in out
    assert said in (tmp_path / "report.html").read_text()


def test_one_state_gives_no_warning(comparison):
    alone = comparison.assign_attrs(origins=as_attribute([(what, "0.1.0") for what, _ in MADE]))
    assert section(alone).warnings == section(comparison).warnings
