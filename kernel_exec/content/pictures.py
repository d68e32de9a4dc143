"""What pictures are read at all, and how reading one fails. Pure."""

import binascii
from typing import Final

from PIL import Image, UnidentifiedImageError

FORMATS: Final = ("PNG", "JPEG")
"""What kernels send; every other decoder would only be one more to attack."""

MOST_PIXELS: Final = 60_000_000

UNREADABLE: Final = (
    binascii.Error,
    UnidentifiedImageError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
    OSError,
    SyntaxError,
    ValueError,
    MemoryError,
)
