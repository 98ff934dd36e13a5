"""Decoding of images to red, green and blue, or to grey values of more than eight bits.

| stored as | read as |
|---|---|
| 8 bits per channel, 1 bit, a palette, CMYK | 8 bits per channel |
| 16-bit colours | the upper 8 bits per channel |
| 16-bit grey | values divided by 65535, or by the largest value of the bit depth that a TIFF states |
| 32-bit float grey | unchanged values, which must lie in [0, 1] |
| any of these with transparent pixels | composited over a background; refused without a background |
| a photograph with an orientation in its EXIF data | rotated accordingly |
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
"""Suffixes of the formats that are read."""
# A phone's JPEG may carry a second, smaller frame of the same photograph.
ANIMATED = ("GIF", "PNG", "TIFF", "WEBP")
# TIFF tags.
BITS_PER_SAMPLE, PHOTOMETRIC = 258, 262
WHITE_IS_ZERO = 0


def decoded(encoded: Path | BinaryIO, where: str, background: float | None) -> Image:
    """Decodes an image to the mode `RGB`, or to the mode `F` with grey values in [0, 1].

    Args:
        encoded: the file, or a stream of its content.
        where: name of the image in error messages.
        background: grey value in [0, 1] behind transparent pixels; None refuses images with transparent
            pixels.

    Raises:
        DataFileError: the file is not a complete image, it has several frames or transparent pixels without a
            background, or the meaning of its values is not certain.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(encoded) as opened:
            frames = getattr(opened, "n_frames", 1) if opened.format in ANIMATED else 1
            if frames > 1:
                raise DataFileError(
                    f"{where} has {frames} frames, expected a single image: save the frame to use."
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
            f"{where} is not an image of a known format: replace it by an intact one, or move it elsewhere."
        ) from error
    # Decoders raise errors of many types.
    except Exception as error:
        raise DataFileError(
            f"{where} cannot be read as an image ({type(error).__name__}: {error}): replace it by an intact "
            "one, or move it elsewhere."
        ) from error


def _black_and_white(image: Image, where: str) -> tuple[float, float] | None:
    """The values of black and white of a grey image of more than eight bits; None for other images.

    Raises:
        DataFileError: the file does not determine them.
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
            f"{where} holds integers of mode {image.mode}, and the value of white is unknown: save it with "
            "8 or 16 bits."
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
            f"{where} holds values from {values.min():g} to {values.max():g}, expected grey values from 0 to "
            f"{max(ends):g}: scale them, or save the image with 8 or 16 bits."
        )
    clear = values == image.info["transparency"] if "transparency" in image.info else np.zeros(1, bool)
    if clear.any():
        scaled = np.where(clear, _over(background, where), scaled)
    return Image.fromarray(scaled.astype(np.float32))


def _colours(image: Image, where: str, background: float | None) -> Image:
    from PIL import Image

    if image.mode in ("La", "RGBa"):  # colours premultiplied by opacity
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
            f"{where} has transparent pixels: set `dataset.background` to the grey value behind them, "
            f"from 0 (black) to 1 (white)."
        )
    return background
