"""Pictures small enough for a model to be shown."""

import base64
import binascii
import io
import warnings

from anyio import to_thread
from PIL import Image, UnidentifiedImageError

from .render import Picture

_LONG_SIDE = 800
_MOST_PIXELS = 60_000_000
_FORMATS = ("PNG", "JPEG")
"""What kernels send; every other decoder would only be one more to attack."""


async def shrink(picture: Picture) -> Picture | None:
    """A PNG of at most 800 pixels on its long side; None when it can't be read."""
    return await to_thread.run_sync(_shrink, picture)


def _shrink(picture: Picture) -> Picture | None:
    try:
        encoded = base64.b64decode(picture.data)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(encoded), formats=_FORMATS) as opened:
                is_png = opened.format == "PNG"
                if opened.width * opened.height > _MOST_PIXELS:
                    return None
                image = opened.convert("RGBA" if opened.has_transparency_data else "RGB")
    except (
        binascii.Error,
        UnidentifiedImageError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
        OSError,
        SyntaxError,
        ValueError,
    ):
        return None
    if is_png and max(image.size) <= _LONG_SIDE:
        smallest = min(encoded, _png(_palette(image)), key=len)
    else:
        image.thumbnail((_LONG_SIDE, _LONG_SIDE))
        smallest = min(_png(image), _png(_palette(image)), key=len)
    return Picture(data=base64.b64encode(smallest).decode("ascii"), mime_type="image/png")


def _palette(image: Image.Image) -> Image.Image:
    return image.quantize(256, method=Image.Quantize.FASTOCTREE)


def _png(image: Image.Image) -> bytes:
    written = io.BytesIO()
    image.save(written, "PNG", optimize=True)
    return written.getvalue()
