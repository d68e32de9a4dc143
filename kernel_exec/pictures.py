"""Pictures as kernels send them, in base64: opened in one place, shrunk, and compared. Pure."""

import base64
import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageChops

FORMATS: Final = ("PNG", "JPEG")
"""What kernels send; every other decoder would only be one more to attack."""

MOST_PIXELS: Final = 60_000_000

COLOURS: Final = 256
"""Colours of a picture with a palette."""

_UNREADABLE: Final = (
    ArithmeticError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What reading a damaged picture raises."""

LONG_SIDE: Final = 800
"""Pixels of a picture that a model is shown."""

_MOST_BYTES = 320_000
"""Bytes of such a picture, so that two of them fit into a result."""

_HEADER = 1 << 16
"""Characters of a picture's base64 in which its size stands."""

_FAINT: Final = (12, 1.0)
"""How far any pixel and the mean of all may be off, of 255; a digit in a title is off by 200."""

_ROWS: Final = 256
"""Rows that are compared at once: a picture may have 60 million pixels."""

# pillow's own check warns, and to make an error of that changes the filters of all threads
Image.MAX_IMAGE_PIXELS = None


@contextmanager
def _opened(data: str) -> Iterator[Image.Image]:
    """A picture that is not decoded yet; one of the `_UNREADABLE` when it is none, or too large."""
    with Image.open(io.BytesIO(base64.b64decode(data)), formats=FORMATS) as image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"the picture has more than {MOST_PIXELS:,} pixels")
        yield image


def size_of(data: str) -> tuple[int, int] | None:
    """Width and height of a picture, None when it does not tell."""
    begins = "".join(data[:_HEADER].split())
    with suppress(*_UNREADABLE), _opened(begins[: len(begins) // 4 * 4]) as image:
        return image.size
    return None


def shrunk(data: str) -> str | None:
    """A picture as a PNG of few bytes, its long side at most `LONG_SIDE`; None if unreadable."""
    try:
        with _opened(data) as image:
            decoded = _with_true_colours(image)
            fits = image.format == "PNG" and max(image.size) <= LONG_SIDE
    except _UNREADABLE:
        return None
    small = [base64.b64decode(data)] if fits else []
    side = LONG_SIDE
    while True:
        decoded.thumbnail((side, side))
        smallest = min([*small, _png(decoded), _png(_with_palette(decoded))], key=len)
        if len(smallest) <= _MOST_BYTES:
            return base64.b64encode(smallest).decode("ascii")
        small, side = [], side * 3 // 4


def in_few_colours(data: str) -> str:
    """A PNG with a palette; as it was when that is not smaller, or it can't be read."""
    try:
        with _opened(data) as image:
            if image.format != "PNG" or getattr(image, "n_frames", 1) > 1 or image.mode == "P":
                return data
            smaller = base64.b64encode(_png(_with_palette(image))).decode("ascii")
    except _UNREADABLE:
        return data
    return smaller if len(smaller) < len(data) else data


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureDifference:
    """What two pictures differ in; `words` is "" when every pixel is equal."""

    words: str
    close: bool


def picture_difference(before: str, after: str) -> PictureDifference | None:
    """How two pictures look different, whatever their bytes; None when one can't be read."""
    try:
        with _opened(before) as one, _opened(after) as other:
            return _difference(one, other)
    except _UNREADABLE:
        return None


def _difference(one: Image.Image, other: Image.Image) -> PictureDifference:
    if one.size != other.size:
        sizes = " and ".join("{} by {}".format(*image.size) for image in (one, other))
        return PictureDifference(words=f"the sizes are {sizes}", close=False)
    if (one.mode == "P") != (other.mode == "P"):  # as our exports reduce what is too large
        one, other = (each if each.mode == "P" else _with_palette(each) for each in (one, other))
    shades = [0] * 256  # how many pixels are off by how much, in the band that is off the most
    for top in range(0, one.height, _ROWS):
        box = (0, top, one.width, min(top + _ROWS, one.height))
        bands = ImageChops.difference(_on_white(one.crop(box)), _on_white(other.crop(box))).split()
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


def _on_white(image: Image.Image) -> Image.Image:
    """As it is shown: what is transparent has colours that nobody sees."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def _with_true_colours(image: Image.Image) -> Image.Image:
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _with_palette(image: Image.Image) -> Image.Image:
    return _with_true_colours(image).quantize(COLOURS, method=Image.Quantize.FASTOCTREE)


def _png(image: Image.Image) -> bytes:
    written = io.BytesIO()
    image.save(written, "PNG", optimize=True)
    return written.getvalue()
