"""Pictures: as a model gets them, and in few colours."""

import base64
import io
import random
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from kernel_exec.pictures import in_few_colours, shrunk, size_of


def encoded(image: Image.Image, kind: str = "PNG") -> str:
    written = io.BytesIO()
    image.save(written, kind)
    return base64.b64encode(written.getvalue()).decode()


def decoded(picture: str | None) -> Image.Image:
    assert picture is not None
    image = Image.open(io.BytesIO(base64.b64decode(picture)))
    assert image.format == "PNG"
    return image


@pytest.mark.parametrize(
    ("size", "shown"),
    [((640, 480), (640, 480)), ((800, 2), (800, 2)), ((1600, 400), (800, 200)), ((1, 1), (1, 1))],
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_the_long_side_has_at_most_800_pixels(
    size: tuple[int, int], shown: tuple[int, int], kind: str
) -> None:
    picture = encoded(Image.new("RGB", size, "teal"), kind)
    assert decoded(shrunk(picture)).size == shown


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_every_colour_mode_is_read(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert decoded(shrunk(encoded(Image.new(mode, (900, 9)), kind))).size == (800, 8)


def test_a_picture_gets_fewer_colours_when_that_makes_it_smaller() -> None:
    noise = Image.effect_noise((400, 400), 60).convert("RGB")
    picture = encoded(noise)
    small = shrunk(picture)
    assert decoded(small).mode == "P"
    assert small is not None
    assert len(small) < len(picture)


def test_a_picture_that_is_small_already_stays_as_it_is() -> None:
    picture = encoded(Image.new("1", (8, 8)))
    assert shrunk(picture) == picture


def test_transparency_is_kept() -> None:
    image = decoded(shrunk(encoded(Image.new("RGBA", (1000, 10), (255, 0, 0, 0)))))
    assert image.convert("RGBA").getchannel("A").getextrema() == (0, 0)


def test_a_picture_of_another_format_than_announced_is_still_a_png_afterwards() -> None:
    jpeg = encoded(Image.new("RGB", (10, 10)), "JPEG")
    decoded(shrunk(jpeg))


@pytest.mark.parametrize(
    "data",
    ["", "?", "not base64 at all", "aGVsbG8=", "ü", encoded(Image.new("L", (9, 9)))[:60]],
)
def test_what_is_no_picture_is_none(data: str) -> None:
    assert shrunk(data) is None


def test_a_decompression_bomb_is_none() -> None:
    bomb = encoded(Image.new("1", (10_000, 10_000)))
    assert len(bomb) < 50_000
    assert shrunk(bomb) is None


def test_a_picture_tells_its_size_without_being_decoded() -> None:
    assert size_of(encoded(Image.new("L", (2000, 1000)))) == (2000, 1000)
    assert size_of(encoded(Image.effect_noise((1500, 900), 60), "JPEG")) == (1500, 900)
    assert size_of("aGVsbG8=") is None


def test_a_picture_that_stays_large_in_few_colours_becomes_smaller() -> None:
    noise = Image.frombytes("RGB", (800, 800), random.Random(0).randbytes(800 * 800 * 3))
    small = shrunk(encoded(noise))
    assert small is not None
    assert len(small) <= 430_000
    assert decoded(small).size < (800, 800)


def test_a_moving_picture_is_shown_as_its_first_moment() -> None:
    written = io.BytesIO()
    moments = [Image.new("RGB", (30, 20), colour) for colour in ("red", "blue")]
    moments[0].save(written, "PNG", save_all=True, append_images=moments[1:])
    image = decoded(shrunk(base64.b64encode(written.getvalue()).decode()))
    assert image.convert("RGB").getpixel((5, 5)) == (255, 0, 0)


def test_pictures_leave_the_filters_of_warnings_alone() -> None:
    bomb, before = encoded(Image.new("1", (10_000, 10_000))), [*warnings.filters]
    with ThreadPoolExecutor(4) as threads:
        assert [*threads.map(shrunk, [bomb] * 40)] == [None] * 40
    assert warnings.filters == before


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_damage_is_no_reason_to_fail(kind: str) -> None:
    chance = random.Random(0)
    whole = base64.b64decode(encoded(Image.effect_noise((60, 40), 50), kind))
    for _ in range(100):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        shrunk(base64.b64encode(damaged).decode())


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_a_picture_stays_as_large_in_fewer_colours(mode: str) -> None:
    noise = random.Random(0).randbytes(120 * 120 * len(mode))
    before = encoded(Image.frombytes(mode, (120, 120), noise))
    after = decoded(in_few_colours(before))
    assert after.size == (120, 120)
    assert after.has_transparency_data is (mode == "RGBA")
    assert len(in_few_colours(before)) <= len(before)
    assert in_few_colours(in_few_colours(before)) == in_few_colours(before)


@pytest.mark.parametrize("data", ["", "no base64!", base64.b64encode(b"no picture").decode()])
def test_what_is_no_picture_keeps_its_colours(data: str) -> None:
    assert in_few_colours(data) == data
