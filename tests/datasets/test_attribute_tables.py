"""Tables of attributes in common formats are read correctly or refused with their line and column."""

import numpy as np
import pytest
from PIL import Image

from plumbline.datasets._download import DataFileError
from plumbline.datasets._images.attribute_table import read_attribute_table

NAMES = [f"{i:06d}.jpg" for i in range(1, 9)]
TRUTH = [1, -1, 1, -1, 1, 1, -1, -1]


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "img"
    folder.mkdir()
    for name in NAMES:
        Image.new("RGB", (2, 2)).save(folder / name)
    return [folder / name for name in NAMES]


def labels(images, text, attribute="Male", encoding="utf-8"):
    path = images[0].parents[1] / "table"
    path.write_text(text, encoding=encoding)
    return read_attribute_table(path).attributes_of(images, images[0].parent, [attribute])[:, 0]


def table(head, between=",", values=TRUTH, names=NAMES, index=False):
    start = [f"{i}{between}" if index else "" for i in range(len(names))]
    lines = [f"{s}{n}{between}1{between}{v}" for s, n, v in zip(start, names, values, strict=True)]
    return "\n".join([*head, *lines]) + "\n"


KAGGLE = ["image_id,Smiling,Male"]


@pytest.mark.parametrize(
    "text",
    {
        "celeba": table(["8", "Smiling Male "], "  "),
        "celeba, no count": table(["Smiling Male"], " "),
        "carriage returns and a byte order mark": "\ufeff" + table(["8", "Smiling Male"], " ").replace("\n",
            "\r\n"),
        "commas": table(KAGGLE),
        "commas below a count": table(["8", *KAGGLE]),
        "spaces after commas": table(["image_id, Smiling, Male"], ", "),
        "semicolons": table(["image_id;Smiling;Male"], ";"),
        "tabs": table(["image_id\tSmiling\tMale"], "\t"),
        "index": table([",image_id,Smiling,Male"], index=True),
        "quotes": table(['"image_id","Smiling","Male"'], names=[f'"{name}"' for name in NAMES]),
        "0 and 1": table(KAGGLE, values=[max(v, 0) for v in TRUTH]),
        "floats": table(KAGGLE, values=[float(v) for v in TRUTH]),
        "booleans": table(KAGGLE, values=[v > 0 for v in TRUTH]),
        "upper case": table(KAGGLE, values=["TRUE" if v > 0 else "FALSE" for v in TRUTH]),
        "folders": table(KAGGLE, names=[f"img/{name}" for name in NAMES]),
        "of windows": table(KAGGLE, names=[f".\\img\\{name}" for name in NAMES]),
    }.values(),
)  # fmt: skip
def test_tables_give_the_right_labels(images, text):
    np.testing.assert_array_equal(labels(images, text), np.array(TRUTH) > 0)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["1", "0", ""], "line 4, column 'Male': .* found ''"),
        (["1", "-1", "nan"], "line 4, column 'Male': .* found 'nan'"),
        (["1", "2", "1"], "line 3, column 'Male': .* found '2'"),
        (["0.9", "0.1", "1"], "line 2, column 'Male': .* found '0.9'"),
        (["yes", "no", "no"], "line 2, column 'Male': .* found 'yes'"),
        (["1", "-1", "0"], "line 4, column 'Male': .* found '0' below -1, 1"),
        (["1", "True", "0"], "line 3, column 'Male': .* found 'True' below 1"),
    ],
)
def test_other_values_are_refused_by_line(images, values, found):
    with pytest.raises(DataFileError, match=found):
        labels(images, table(KAGGLE, values=[*values, *"11111"]))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (table(KAGGLE) + NAMES[0] + ",1,-1\n", r"lines 2 and 10 both describe '000001\.jpg'"),
        (table(["9", "Smiling Male"], " "), "states that it has 9 images, but has 8 lines"),
        (table(KAGGLE) + "x.jpg,1\n", "line 10: expected 3 fields as in the header, found 2"),
        (table(["image_id,Male,Male"]), "lists 'Male' 2 times"),
        (table(["image_id,Smiling,Old"]), "has no attribute 'Male'; it has Smiling, Old"),
        (
            table(KAGGLE, names=[n[:-4] for n in NAMES]),
            "no line for 8 images, .*lines have names such as '000001'",
        ),
        ("", "is empty"),
        (table(['image_id,Smiling,Ma"le']) + '"', "is not a table"),
    ],
)
def test_tables_that_do_not_fit_are_named(images, text, found):
    with pytest.raises(DataFileError, match=found):
        labels(images, text)


def test_another_encoding_is_named(images):
    with pytest.raises(DataFileError, match=r"is not UTF-8 \(byte 11\): save it as UTF-8"):
        labels(images, table(["image_id,Fr\xf6hlich,Male"]), encoding="latin-1")


def test_values_of_images_that_are_not_there_do_not_matter(images):
    text = table(KAGGLE) + "further.jpg,1,perhaps\n"
    np.testing.assert_array_equal(labels(images, text), np.array(TRUTH) > 0)


def test_one_name_in_two_folders_needs_paths(tmp_path):
    images = []
    for folder in "ab":
        (tmp_path / folder).mkdir()
        for k in (1, 2):
            images.append(tmp_path / folder / f"x{k}.png")
            Image.new("RGB", (2, 2)).save(images[-1])
    path = tmp_path / "table.csv"
    path.write_text("name,Male\nx1.png,1\nx2.png,0\n")
    with pytest.raises(DataFileError, match=r"2 images are named 'x1.png' \(a/x1.png, b/x1.png\)"):
        read_attribute_table(path).attributes_of(images, tmp_path, ["Male"])
    path.write_text("name,Male\nb/x1.png,1\na/x1.png,0\na/x2.png,1\nb/x2.png,0\n")
    read = read_attribute_table(path).attributes_of(images, tmp_path, ["Male"])
    assert read[:, 0].tolist() == [0, 1, 1, 0]
