"""Notebooks within a size."""

import base64
import io
import json
import random
from typing import Any

import nbformat
import pytest
from PIL import Image

from kernel_exec.kernels.messages import JSONObject
from kernel_exec.notebooks.budget import Fitted, fit, pictures_apart, quantise, written


def png(seed: int = 0, mode: str = "RGB", size: int = 120) -> str:
    """Noise, of which no palette is as small."""
    channels = len(mode)
    noise = random.Random(seed).randbytes(size * size * channels)
    target = io.BytesIO()
    Image.frombytes(mode, (size, size), noise).save(target, "PNG")
    return base64.b64encode(target.getvalue()).decode()


def notebook(*outputs: JSONObject) -> dict[str, Any]:
    cells = [
        {
            "cell_type": "code",
            "id": f"c{at}",
            "metadata": {"kernel_exec": {"truncated": False}},
            "execution_count": at,
            "source": "x",
            "outputs": [output],
        }
        for at, output in enumerate(outputs, 1)
    ]
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}


def picture(data: str) -> JSONObject:
    metadata = {"image/png": {"alt": "A [plot]"}}
    shown = {"image/png": data, "text/plain": "<Figure>"}
    return {"output_type": "display_data", "data": shown, "metadata": metadata}


def stream(text: str) -> JSONObject:
    return {"output_type": "stream", "name": "stdout", "text": text}


def fitted(made: JSONObject, limit: int | None) -> tuple[Any, Fitted]:
    found = fit(made, limit=limit, folder="n_files", size=len(written(made).encode()))
    nbformat.validate(json.loads(written(found.notebook)))
    return found.notebook, found


@pytest.mark.parametrize("limit", [None, 1_000_000])
def test_nothing_changes_while_it_fits(limit: int | None) -> None:
    made = notebook(picture(png()), stream("x" * 20_000))
    assert fitted(made, limit)[0] is made


def test_plots_get_fewer_colours_first_and_say_so() -> None:
    made = notebook(*(picture(png(seed)) for seed in range(4)), stream("x" * 7000))
    small, found = fitted(made, 150_000)
    outputs = [cell["outputs"][0] for cell in small["cells"]]
    assert found.files == {}
    assert outputs[4] == stream("x" * 7000)
    for output in outputs[:4]:
        assert output["metadata"]["kernel_exec"] == {"colours": 256}
        with Image.open(io.BytesIO(base64.b64decode(output["data"]["image/png"]))) as opened:
            assert (opened.mode, opened.size) == ("P", (120, 120))


def test_what_is_still_too_large_goes_into_files_the_largest_first() -> None:
    large, larger = "a" * 20_000, "b\n" * 20_000
    made = notebook(stream(large), stream(larger))
    small, found = fitted(made, 30_000)
    kept, cut = (cell["outputs"][0]["text"] for cell in small["cells"])
    assert kept == large
    assert cut.startswith("b\nb\n")
    assert cut.endswith("b\n")
    assert "[37,000 characters left out here; all of them are in n_files/c2-1.txt]" in cut
    assert found.files == {"c2-1.txt": larger.encode()}
    assert [cell["metadata"]["kernel_exec"]["truncated"] for cell in small["cells"]] == [
        False,
        True,
    ]


def test_a_text_that_history_has_in_a_file_is_not_written_to_another() -> None:
    made = notebook(stream("x" * 9000 + "\n[all of it is in ../a.txt]\n"))
    small, found = fitted(made, 1000)
    text = small["cells"][0]["outputs"][0]["text"]
    assert found.files == {}
    assert "characters left out here; all of them are in ../a.txt]" in text
    assert text.endswith("x\n[all of it is in ../a.txt]\n")


CUT: dict[str, tuple[JSONObject, str, bytes, str]] = {
    "JSON": ({"application/vnd.x+json": {"a": [1] * 9000}}, "json", b'{"a": [1, 1', "is in n_f"),
    "HTML": ({"text/html": ["<b>", "x" * 9000]}, "html", b"<b>xxx", "[text/html is in n_files"),
    "LaTeX": ({"text/latex": "y" * 9000}, "tex", b"yyy", ""),
    "PDF": ({"application/pdf": base64.b64encode(b"%PDF" * 3000).decode()}, "pdf", b"%PDF%", "pdf"),
    "base64 that is none": ({"image/jpeg": "x" * 8001}, "jpg", b"xxx", ""),
}


@pytest.mark.parametrize("name", CUT)
def test_a_large_form_of_a_display_is_in_a_file(name: str) -> None:
    data, ending, content, told = CUT[name]
    (mime,) = data
    shown = {"text/plain": "short", **data}
    made = notebook(
        {"output_type": "execute_result", "execution_count": 1, "data": shown, "metadata": {}}
    )
    small, found = fitted(made, 3000)
    ((file, whole),) = found.files.items()
    assert file == f"c1-1.{ending}"
    assert whole.startswith(content)
    output = small["cells"][0]["outputs"][0]
    assert output["metadata"]["kernel_exec"]["files"] == {mime: f"n_files/{file}"}
    assert output["data"]["text/plain"].startswith("short")
    assert told in json.dumps(output["data"])


def test_an_error_keeps_its_beginning_and_its_end() -> None:
    error: JSONObject = {
        "output_type": "error",
        "ename": "E",
        "evalue": "v" * 9000,
        "traceback": ["begin", "x" * 9000, "end"],
    }
    small, found = fitted(notebook(error), 1000)
    output = small["cells"][0]["outputs"][0]
    (block,) = output["traceback"]
    assert block.startswith("begin\nxxx")
    assert block.endswith("x\nend")
    assert len(output["evalue"]) == 2001
    assert found.files == {"c1-1.txt": b"begin\n" + b"x" * 9000 + b"\nend"}


def test_a_picture_that_does_not_fit_is_linked_with_its_words() -> None:
    made = notebook(picture(png(size=200)))
    small, found = fitted(made, 10_000)
    output = small["cells"][0]["outputs"][0]
    assert output["data"] == {
        "text/plain": "<Figure>",
        "text/markdown": "![A (plot)](n_files/c1-1.png)\n\n[n_files/c1-1.png](n_files/c1-1.png)",
    }
    assert found.files["c1-1.png"].startswith(b"\x89PNG")


def test_what_can_not_be_cut_stays() -> None:
    made = notebook(*[stream("x" * 1000)] * 10)
    small, found = fitted(made, 1000)
    assert small == made
    assert found.files == {}


def test_it_is_the_same_every_time() -> None:
    made = notebook(picture(png()), stream("x" * 90_000), picture(png(1)))
    assert written(fitted(made, 5000)[0]) == written(fitted(made, 5000)[0])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_a_picture_stays_as_large_in_fewer_colours(mode: str) -> None:
    before = png(mode=mode)
    with Image.open(io.BytesIO(base64.b64decode(quantise(before)))) as opened:
        assert opened.size == (120, 120)
        assert opened.has_transparency_data is (mode == "RGBA")
    assert len(quantise(before)) <= len(before)
    assert quantise(quantise(before)) == quantise(before)


@pytest.mark.parametrize("data", ["", "no base64!", base64.b64encode(b"no picture").decode()])
def test_what_is_no_picture_stays(data: str) -> None:
    assert quantise(data) == data


def test_pictures_can_be_set_apart_though_there_is_room() -> None:
    made = notebook(picture(png()), stream("x"))
    apart = pictures_apart(made, folder="a b_files")
    cells: Any = apart.notebook["cells"]
    assert cells[0]["outputs"][0]["data"]["text/markdown"] == "![A (plot)](a%20b_files/c1-1.png)"
    assert cells[1] == made["cells"][1]
    assert list(apart.files) == ["c1-1.png"]
