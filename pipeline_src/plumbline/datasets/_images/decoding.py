"""An encoded image as red, green and blue, or as grey of more than eight bits.

| stored as | read as |
|---|---|
| 8 bits a channel, 1 bit, a palette, CMYK | 8 bits a channel; of 16-bit colours, the upper eight bits |
| 16-bit grey | values over 65535; of a TIFF, over the largest number of the bits that it states |
| 32-bit float grey | the values as they are, which must lie in [0, 1] |
| any of these with transparency | laid over a background; refused without one if a pixel is transparent |
| a photograph with an orientation in its EXIF data | turned as it says |
| several frames (an animation, pages) | refused |
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from plumbline.datasets._download import DataFileError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (
    ".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
"""Formats that are read, by the ends of their names."""
# A phone's JPEG may carry a second, smaller frame of the same photograph.
ANIMATED = ("GIF", "PNG", "TIFF", "WEBP")
# Tags of a TIFF.
BITS_PER_SAMPLE, PHOTOMETRIC = 258, 262
WHITE_IS_ZERO = 0


def decoded(encoded: Path | BinaryIO, where: str, background: float | None) -> Image:
    """An image of the mode `RGB`, or of the mode `F` with grey values in [0, 1].

    Args:
        encoded: the file, or a stream of its content.
        where: what errors name it by.
        background: grey in [0, 1] that shows through transparent pixels; None where none may be transparent.

    Raises:
        DataFileError: it is no whole image, or is one whose values have no certain meaning.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(encoded) as opened:
            frames = getattr(opened, "n_frames", 1) if opened.format in ANIMATED else 1
            if frames > 1:
                raise DataFileError(
                    f"{where} has {frames} frames, where one image is expected: save the frame that is meant."
                )
            ends = _black_and_white(opened, where)
            opened.load()
            upright = ImageOps.exif_transpose(opened)
            if ends is not None:
                return _deep_grey(upright, ends, where, background)
            return _colours(upright, where, background)
    except DataFileError:
        raise
    except UnidentifiedImageError as error:
        raise DataFileError(
            f"{where} is no image of a format that is known: replace it by a whole one, or move it elsewhere."
        ) from error
    # Each decoder has errors of its own: of files, of values, of syntax, of unpacking, of sizes.
    except Exception as error:
        raise DataFileError(
            f"{where} cannot be read as an image ({type(error).__name__}: {error}): replace it by a whole one, "
            f"or move it elsewhere."
        ) from error


def _black_and_white(image: Image, where: str) -> tuple[float, float] | None:
    """The values of black and of white where grey has more than eight bits; None where it has not.

    Raises:
        DataFileError: nothing says what they are.
    """
    tags = getattr(image, "tag_v2", {})
    if image.mode == "F":
        white = 1.0
    elif image.mode == "I" and image.format in ("PNG", "PPM"):
        white = 65535.0
    elif image.mode.startswith("I;16"):
        white = float(2 ** tags.get(BITS_PER_SAMPLE, (16,))[0] - 1)
    elif image.mode.startswith("I"):
        raise DataFileError(
            f"{where} holds {image.mode} whole numbers, of which nothing says what is white: save it with 8 or 16 bits."
        )
    else:
        return None
    return (white, 0.0) if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else (0.0, white)


def _deep_grey(image: Image, ends: tuple[float, float], where: str, background: float | None) -> Image:
    from PIL import Image

    values = np.asarray(image, dtype=np.float64)
    black, white = ends
    scaled = (values - black) / (white - black)
    if not ((scaled >= 0) & (scaled <= 1)).all():
        raise DataFileError(
            f"{where} holds values from {values.min():g} to {values.max():g}, where grey is expected from 0 to "
            f"{max(ends):g}: scale them, or save it with 8 or 16 bits."
        )
    clear = values == image.info["transparency"] if "transparency" in image.info else np.zeros(1, bool)
    if clear.any():
        scaled = np.where(clear, _over(background, where), scaled)
    return Image.fromarray(scaled.astype(np.float32))


def _colours(image: Image, where: str, background: float | None) -> Image:
    from PIL import Image

    if image.mode in ("La", "RGBa"):  # colours that are multiplied by their opacity
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if not image.has_transparency_data:
        return image.convert("RGB")
    clear = image.convert("RGBA")
    if clear.getchannel("A").getextrema()[0] == 255:
        return clear.convert("RGB")
    grey = round(255 * _over(background, where))
    return Image.alpha_composite(Image.new("RGBA", clear.size, (grey, grey, grey, 255)), clear).convert("RGB")


def _over(background: float | None, where: str) -> float:
    if background is None:
        raise DataFileError(
            f"{where} has transparent pixels: set `dataset.background` to the grey that shows through them, "
            f"from 0 (black) to 1 (white)."
        )
    return background
