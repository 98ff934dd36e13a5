"""Folders of images: various depths and colours, rotated, transparent, damaged, among other files."""

import io
import logging
import os
import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from plumbline.datasets._download import DataFileError
from plumbline.datasets._images.decoding import decoded
from plumbline.datasets.image_folder import ImageFolderSpec

SPLITS = {"train": 4, "validation": 2, "test": 2}


@pytest.fixture
def classes(tmp_path):
    """Six images of the class `a`, shades 0 to 5, and six of the class `b`, shades 100 to 105."""
    for name, shade in (("a", 0), ("b", 100)):
        fill(tmp_path / name, shade)
    return tmp_path


def fill(folder, shade, count=6):
    folder.mkdir(parents=True)
    for i in range(count):
        Image.new("RGB", (8, 8), (shade + i,) * 3).save(folder / f"{i}.png")


def drawn(folder, **values):
    values = {"size": 8, "parts": 1, "splits": SPLITS, **values}
    return ImageFolderSpec(data_dir=str(folder), **values).draw_part(0)


def shades(data):
    return np.round(data["state"].values[:, 0, 0, 0] * 255).astype(int)


def stored(image, **settings):
    image.save(stream := io.BytesIO(), **settings)
    return io.BytesIO(stream.getvalue())


def grey(image):
    """The values (3,) read from an image of one constant value."""
    spec = ImageFolderSpec(data_dir=".", size=4, splits=SPLITS)
    values = spec.square(image, "here")
    assert values.shape == (3, 4, 4)
    return values[:, 0, 0]


@pytest.mark.parametrize("form", ["png", "tiff", "ppm"])
def test_sixteen_bits_are_scaled_by_their_own_range(form):
    image = Image.fromarray(np.full((6, 6), 16384, np.uint16))
    np.testing.assert_allclose(grey(stored(image, format=form)), 16384 / 65535, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_a_tiff_whose_white_is_zero_is_not_inverted(dtype):
    white = 65535 if dtype == np.uint16 else 1
    image = Image.fromarray(np.full((6, 6), white / 4).astype(dtype))
    encoded = stored(image, format="tiff", tiffinfo={262: 0})
    np.testing.assert_allclose(grey(encoded), 0.75, atol=1e-4)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_sixteen_bit_colours_keep_their_upper_eight_bits(channels):
    values = {2: [32768, 65535], 3: [65535, 32768, 256], 4: [65535, 32768, 256, 65535]}[channels]
    rows = b"".join(b"\0" + struct.pack(f">{channels}H", *values) * 4 for _ in range(4))
    header = struct.pack(">IIBBBBB", 4, 4, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in parts]
    read = grey(io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)))
    np.testing.assert_allclose(read * 255, [128] * 3 if channels == 2 else [255, 128, 1], atol=1e-4)


def test_sixteen_bits_do_not_overshoot_when_scaled():
    steps = np.zeros((40, 40), np.uint16)
    steps[:, 20:] = 65535
    values = ImageFolderSpec(data_dir=".", size=7, splits=SPLITS).square(
        stored(Image.fromarray(steps), format="png"), ""
    )
    assert values.min() == 0 and values.max() == 1
    np.testing.assert_allclose(values.mean(), 0.5, atol=0.02)


def test_every_kind_of_eight_bits_is_read_as_its_colour():
    palette = Image.new("RGB", (6, 6), (10, 200, 30)).convert("P", palette=Image.Palette.ADAPTIVE)
    np.testing.assert_allclose(grey(stored(palette, format="png")), np.array([10, 200, 30]) / 255, atol=1e-6)
    np.testing.assert_allclose(grey(stored(Image.new("1", (6, 6), 1), format="png")), 1)
    np.testing.assert_allclose(grey(stored(Image.new("1", (6, 6), 1), format="tiff")), 1)
    np.testing.assert_allclose(grey(stored(Image.new("CMYK", (6, 6), (0, 0, 0, 0)), format="jpeg")), 1)
    np.testing.assert_allclose(grey(stored(Image.new("L", (6, 6), 51), format="bmp")), 0.2)


def test_float_grey_lies_in_the_unit_interval_or_is_refused():
    np.testing.assert_allclose(grey(stored(Image.new("F", (6, 6), 0.25), format="tiff")), 0.25)
    for value, shown in ((128.0, "128"), (float("nan"), "nan")):
        with pytest.raises(DataFileError, match=f"here holds values from {shown}.*0 to 1: scale them"):
            grey(stored(Image.new("F", (6, 6), value), format="tiff"))


def test_whole_numbers_without_a_white_are_refused():
    with pytest.raises(DataFileError, match="here holds integers of mode I,"):
        grey(stored(Image.new("I", (6, 6), 70000), format="tiff"))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_shows_the_background_or_is_refused(mode):
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    image.putpixel((1, 1), (128, 128, 128, 255))
    encoded = stored(image.convert(mode) if mode != "P" else image.quantize(), format="png")
    with pytest.raises(DataFileError, match=r"here has transparent pixels: set `dataset.background`"):
        decoded(encoded, "here", None)
    pixels = np.asarray(decoded(encoded, "here", 0.2)).astype(int)
    assert pixels[0, 0].tolist() == [51, 51, 51]
    assert np.abs(pixels[1, 1] - 128).max() <= 1


def test_half_transparent_pixels_are_mixed_and_opaque_ones_need_no_background():
    half = stored(Image.new("RGBA", (4, 4), (255, 0, 0, 128)), format="png")
    assert np.asarray(decoded(half, "", 1.0))[0, 0].tolist() == [255, 127, 127]
    opaque = stored(Image.new("RGBA", (4, 4), (255, 0, 0, 255)), format="png")
    assert np.asarray(decoded(opaque, "", None))[0, 0].tolist() == [255, 0, 0]


def test_transparent_sixteen_bit_grey_shows_the_background():
    encoded = stored(Image.fromarray(np.full((4, 4), 300, np.uint16)), format="png", transparency=300)
    with pytest.raises(DataFileError, match="transparent pixels"):
        decoded(encoded, "here", None)
    np.testing.assert_allclose(np.asarray(decoded(encoded, "here", 0.5)), 0.5)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_as_their_exif_data_says(orientation):
    turn = {
        1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a),
    }[orientation]  # fmt: skip
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = stored(Image.fromarray(pixels), format="png", exif=exif)
    np.testing.assert_array_equal(np.asarray(decoded(encoded, "", None)), turn(pixels))


def test_an_animation_is_refused():
    frames = [Image.new("RGB", (4, 4), (80 * k,) * 3) for k in range(3)]
    for form in ("webp", "gif", "png", "tiff"):
        encoded = stored(frames[0], format=form, save_all=True, append_images=frames[1:])
        with pytest.raises(DataFileError, match="here has 3 frames"):
            decoded(encoded, "here", None)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", "cut"])
def test_damaged_files_are_named(classes, content):
    if content == "cut":
        whole = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        content = stored(Image.fromarray(whole), format="png").getvalue()[:5000]
    (classes / "a" / "3.png").write_bytes(content)
    with pytest.raises(DataFileError, match=r"a/3\.png (is not an image of a|cannot be read as an image)"):
        drawn(classes, splits={"train": 8, "validation": 2, "test": 2})


def test_hidden_files_make_no_class_and_are_counted(classes, caplog):
    plain = drawn(classes)
    for left in ("a/.ipynb_checkpoints/0.png", "__MACOSX/a/._0.png", "a/._0.png", ".hidden/0.png"):
        (classes / left).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(classes / "a/0.png", classes / left)
    for name in ("Thumbs.db", ".DS_Store", "notes.txt"):
        (classes / name).write_bytes(b"x")
    with caplog.at_level(logging.INFO, logger="plumbline"):
        again = drawn(classes)
    assert "12 images; left out: 1 .txt, 6 hidden or of the operating system" in caplog.text
    assert "classes by folder: 0 a, 1 b" in caplog.text
    assert again.identical(plain)
    np.testing.assert_array_equal(again["label"], shades(again) >= 100)


def test_a_folder_of_a_class_may_be_a_link(classes):
    plain = drawn(classes)
    shutil.move(classes / "b", classes.parent / f"{classes.name}-elsewhere")
    os.symlink(classes.parent / f"{classes.name}-elsewhere", classes / "b")
    assert drawn(classes).identical(plain)


def test_links_that_count_images_twice_are_refused(classes):
    os.symlink(classes, classes / "a" / "loop")
    with pytest.raises(DataFileError, match=r"loop and .* are the same"):
        drawn(classes)
    (classes / "a" / "loop").unlink()
    os.symlink(classes / "a" / "0.png", classes / "b" / "again.png")
    with pytest.raises(DataFileError, match=r"b/again\.png and .*a/0\.png are the same"):
        drawn(classes)
    (classes / "b" / "again.png").unlink()
    os.symlink(classes / "none.png", classes / "b" / "z.png")
    with pytest.raises(DataFileError, match=r"b/z\.png is a broken link"):
        drawn(classes)


def test_folders_of_splits_are_splits_and_not_classes(tmp_path):
    for i, place in enumerate(("train/cat", "train/dog", "val/cat", "val/dog", "test/cat", "test/dog")):
        fill(tmp_path / place, 40 * i)
    data = drawn(tmp_path, splits={"train": 12, "validation": 10, "test": 11})
    groups = shades(data) // 40
    np.testing.assert_array_equal(data["label"], groups % 2)
    for split, number in (("train", 0), ("validation", 1), ("test", 2)):
        assert (groups[data["split"].values == split] // 2 == number).all()
    with pytest.raises(
        ValueError, match=r"`splits.test`: there are 12 images for this split, and 13 are required"
    ):
        drawn(tmp_path, splits={"train": 2, "validation": 2, "test": 13})


def test_a_split_without_a_folder_is_made_of_images_that_are_not_trained_on(tmp_path):
    fill(tmp_path / "train", 0, 10)
    fill(tmp_path / "test", 100)
    data = drawn(tmp_path, splits={"train": 7, "validation": 3, "test": 6})
    assert "label" not in data
    assert sorted(shades(data)[:10]) == list(range(10))
    assert (shades(data)[10:] >= 100).all()
    with pytest.raises(
        ValueError, match=r"`splits.train`: there are 7 images for this split, and 8 are required"
    ):
        drawn(tmp_path, splits={"train": 8, "validation": 3, "test": 6})


def test_folders_of_splits_beside_or_below_others_are_refused(tmp_path):
    fill(tmp_path / "one" / "train", 0)
    fill(tmp_path / "one" / "cats", 0)
    with pytest.raises(DataFileError, match="has images in train, which are splits, and in cats"):
        drawn(tmp_path / "one")
    for place in ("cat/train", "cat/test", "dog/train"):
        fill(tmp_path / "two" / place, 0)
    with pytest.raises(DataFileError, match="has folders test, train below others"):
        drawn(tmp_path / "two")


def test_images_beside_folders_of_classes_are_refused(classes):
    shutil.copy(classes / "a/0.png", classes / "z.png")
    with pytest.raises(DataFileError, match="holds 1 images beside folders of images"):
        drawn(classes)


def test_images_of_a_split_without_classes_are_refused(tmp_path):
    for place in ("train/cat", "train/dog", "test"):
        fill(tmp_path / place, 0)
    with pytest.raises(DataFileError, match="test holds 6 images beside folders of images"):
        drawn(tmp_path)


def test_folders_without_images_are_counted(classes, caplog):
    (classes / "aa" / "notes").mkdir(parents=True)
    with caplog.at_level(logging.INFO, logger="plumbline"):
        drawn(classes)
    assert "2 folders without images" in caplog.text


def test_classes_that_are_not_there_are_named(classes):
    with pytest.raises(ValueError, match="`classes`: no image has the class 7; there are the classes 0, 1"):
        drawn(classes, classes=(0, 7))
    with pytest.raises(ValueError, match="`rare`: no image has the class 3"):
        drawn(classes, rare={3: 0.5})
    with pytest.raises(ValueError, match="`classes` names a class twice"):
        drawn(classes, classes=(1, 1))
