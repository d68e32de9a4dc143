"""Pictures as a model gets them."""

import base64
import io
import random

import pytest
from PIL import Image

from kernel_exec.content.images import shrink
from kernel_exec.content.render import Picture


def encoded(image: Image.Image, kind: str = "PNG") -> Picture:
    written = io.BytesIO()
    image.save(written, kind)
    return Picture(
        data=base64.b64encode(written.getvalue()).decode(), mime_type=f"image/{kind.lower()}"
    )


def decoded(picture: Picture | None) -> Image.Image:
    assert picture is not None
    assert picture.mime_type == "image/png"
    image = Image.open(io.BytesIO(base64.b64decode(picture.data)))
    assert image.format == "PNG"
    return image


@pytest.mark.parametrize(
    ("size", "shown"),
    [((640, 480), (640, 480)), ((800, 2), (800, 2)), ((1600, 400), (800, 200)), ((1, 1), (1, 1))],
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
async def test_the_long_side_has_at_most_800_pixels(
    size: tuple[int, int], shown: tuple[int, int], kind: str
) -> None:
    picture = encoded(Image.new("RGB", size, "teal"), kind)
    assert decoded(await shrink(picture)).size == shown


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
async def test_every_colour_mode_is_read(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert decoded(await shrink(encoded(Image.new(mode, (900, 9)), kind))).size == (800, 8)


async def test_a_picture_gets_fewer_colours_when_that_makes_it_smaller() -> None:
    noise = Image.effect_noise((400, 400), 60).convert("RGB")
    picture = encoded(noise)
    small = await shrink(picture)
    assert decoded(small).mode == "P"
    assert small is not None
    assert len(small.data) < len(picture.data)


async def test_a_picture_that_is_small_already_stays_as_it_is() -> None:
    picture = encoded(Image.new("1", (8, 8)))
    assert await shrink(picture) == picture


async def test_transparency_is_kept() -> None:
    image = decoded(await shrink(encoded(Image.new("RGBA", (1000, 10), (255, 0, 0, 0)))))
    assert image.convert("RGBA").getchannel("A").getextrema() == (0, 0)


async def test_a_picture_of_another_format_than_announced_is_still_a_png_afterwards() -> None:
    jpeg = encoded(Image.new("RGB", (10, 10)), "JPEG")
    decoded(await shrink(Picture(data=jpeg.data, mime_type="image/png")))


@pytest.mark.parametrize(
    "data",
    ["", "?", "not base64 at all", "aGVsbG8=", "ü", encoded(Image.new("L", (9, 9))).data[:60]],
)
async def test_what_is_no_picture_is_none(data: str) -> None:
    assert await shrink(Picture(data=data, mime_type="image/png")) is None


async def test_a_decompression_bomb_is_none() -> None:
    bomb = encoded(Image.new("1", (10_000, 10_000)))
    assert len(bomb.data) < 50_000
    assert await shrink(bomb) is None


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
async def test_damage_is_no_reason_to_fail(kind: str) -> None:
    chance = random.Random(0)
    whole = base64.b64decode(encoded(Image.effect_noise((60, 40), 50), kind).data)
    for _ in range(100):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        await shrink(Picture(data=base64.b64encode(damaged).decode(), mime_type="image/png"))
