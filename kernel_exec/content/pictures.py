"""Pictures that kernels send: which are read at all, how large they are, and small ones. Pure."""

import base64
import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from PIL import Image

FORMATS: Final = ("PNG", "JPEG")
"""What kernels send; every other decoder would only be one more to attack."""

MOST_PIXELS: Final = 60_000_000

UNREADABLE: Final = (
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

# pillow's own check warns, and to make an error of that changes the filters of all threads
Image.MAX_IMAGE_PIXELS = None


@contextmanager
def opened(encoded: bytes, formats: tuple[str, ...] = FORMATS) -> Iterator[Image.Image]:
    """A picture that is not decoded yet; one of the `UNREADABLE` when it is none, or too large."""
    with Image.open(io.BytesIO(encoded), formats=formats) as image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"the picture has more than {MOST_PIXELS:,} pixels")
        yield image


def size_of(data: str) -> tuple[int, int] | None:
    """Width and height of a picture in base64, None when it does not tell."""
    begins = "".join(data[:_HEADER].split())
    try:
        with opened(base64.b64decode(begins[: len(begins) // 4 * 4])) as image:
            return image.size
    except UNREADABLE:
        return None


def shrunk(data: str) -> str | None:
    """A picture as a PNG of few bytes, its long side at most `LONG_SIDE`; None if unreadable."""
    try:
        encoded = base64.b64decode(data)
        with opened(encoded) as image:
            is_png = image.format == "PNG"
            decoded = image.convert("RGBA" if image.has_transparency_data else "RGB")
    except UNREADABLE:
        return None
    small = [encoded] if is_png and max(decoded.size) <= LONG_SIDE else []
    side = LONG_SIDE
    while True:
        decoded.thumbnail((side, side))
        smallest = min([*small, png(decoded), png(in_few_colours(decoded))], key=len)
        if len(smallest) <= _MOST_BYTES:
            return base64.b64encode(smallest).decode("ascii")
        small, side = [], side * 3 // 4


def in_few_colours(image: Image.Image) -> Image.Image:
    """An RGB or RGBA picture with a palette."""
    return image.quantize(256, method=Image.Quantize.FASTOCTREE)


def png(image: Image.Image) -> bytes:
    """A picture as a file."""
    written = io.BytesIO()
    image.save(written, "PNG", optimize=True)
    return written.getvalue()
