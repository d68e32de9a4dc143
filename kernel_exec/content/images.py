"""Pictures small enough for a model to be shown, and at their full size in files."""

import base64
import io
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

from anyio import to_thread
from PIL import Image

from .pictures import FORMATS, MOST_PIXELS, UNREADABLE
from .render import Picture, Saved

_LONG_SIDE = 800
_ENDINGS = {"image/png": ".png", "image/jpeg": ".jpg"}


async def shrink(picture: Picture) -> Picture | None:
    """A PNG of at most 800 pixels on its long side; None when it can't be read."""
    return await to_thread.run_sync(_shrink, picture)


def save(pictures: Sequence[Picture], folder: Path, name: str) -> list[Saved | None]:
    """Write pictures as they are, once, as `NAME.picture-1.png` and so on; None for what failed."""
    return [
        _save(picture, folder / f"{name}.picture-{number}")
        for number, picture in enumerate(pictures, 1)
    ]


def _save(picture: Picture, path: Path) -> Saved | None:
    path = path.with_name(path.name + _ENDINGS[picture.mime_type])
    try:
        encoded = base64.b64decode(picture.data)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(encoded), formats=FORMATS) as opened:
                width, height = opened.size
        if not path.exists():
            file, unfinished = tempfile.mkstemp(prefix="unfinished-", dir=path.parent)
            with os.fdopen(file, "wb") as stream:
                stream.write(encoded)
            Path(unfinished).replace(path)
    except UNREADABLE:
        return None
    return Saved(path=str(path), width=width, height=height)


def _shrink(picture: Picture) -> Picture | None:
    try:
        encoded = base64.b64decode(picture.data)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(encoded), formats=FORMATS) as opened:
                is_png = opened.format == "PNG"
                if opened.width * opened.height > MOST_PIXELS:
                    return None
                image = opened.convert("RGBA" if opened.has_transparency_data else "RGB")
    except UNREADABLE:
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
