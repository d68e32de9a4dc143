"""Whether two pictures look the same, whatever their bytes are. Pure: no file is opened."""

import base64
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageChops

from kernel_exec.content.pictures import UNREADABLE, in_few_colours, opened

_FAINT: Final = (12, 1.0)
"""How far any pixel and the mean of all may be off, of 255; a digit in a title is off by 200."""

_ROWS: Final = 256
"""Rows that are compared at once: a picture may have 60 million pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureDifference:
    """What two pictures differ in; `words` is "" when every pixel is equal."""

    words: str
    close: bool


def picture_difference(before: str, after: str) -> PictureDifference | None:
    """How two pictures in base64 differ; None when one of them can't be read."""
    one, other = _read(before), _read(after)
    if one is None or other is None:
        return None
    if one.size != other.size:
        sizes = " and ".join("{} by {}".format(*image.size) for image in (one, other))
        return PictureDifference(words=f"the sizes are {sizes}", close=False)
    if (one.mode == "P") != (other.mode == "P"):  # as our exports reduce what is too large
        one, other = _reduced(one), _reduced(other)
    shades = [0] * 256  # how many pixels are off by how much, in the band that is off the most
    for top in range(0, one.height, _ROWS):
        box = (0, top, one.width, min(top + _ROWS, one.height))
        bands = ImageChops.difference(_plain(one.crop(box)), _plain(other.crop(box))).split()
        worst = ImageChops.lighter(ImageChops.lighter(bands[0], bands[1]), bands[2])
        shades = [sum(pair) for pair in zip(shades, worst.histogram(), strict=True)]
    strongest = max(shade for shade, many in enumerate(shades) if many)
    if not strongest:
        return PictureDifference(words="", close=True)
    total = one.width * one.height
    mean = sum(shade * many for shade, many in enumerate(shades)) / total
    most, most_mean = _FAINT
    words = f"{total - shades[0]:,} of {total:,} pixels differ, by at most {strongest} of 255"
    return PictureDifference(words=words, close=strongest <= most and mean <= most_mean)


def _reduced(image: Image.Image) -> Image.Image:
    if image.mode == "P":
        return image
    return in_few_colours(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def _plain(image: Image.Image) -> Image.Image:
    """On white, as it is shown: what is transparent has colours that nobody sees."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def _read(picture: str) -> Image.Image | None:
    try:
        with opened(base64.b64decode(picture)) as image:
            image.load()
            return image.copy()
    except UNREADABLE:
        return None
