"""Notebooks within a size."""

import base64
import io
import json
import random
from typing import Any

import nbformat
import pytest
from PIL import Image

from kernel_exec.documents.budget import Fitted, fit, written
from kernel_exec.jsons import JSONObject
from kernel_exec.notebooks.outputs import rest, rest_of


def png(seed: int = 0, size: int = 120) -> str:
    """Noise, of which no palette is as small."""
    noise = random.Random(seed).randbytes(size * size * 3)
    target = io.BytesIO()
    Image.frombytes("RGB", (size, size), noise).save(target, "PNG")
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
    found = fit(made, limit=limit, folder="n_files")
    assert found.text == written(found.notebook)
    nbformat.validate(json.loads(found.text))
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
    kept, cut = (cell["outputs"] for cell in small["cells"])
    assert kept == [stream(large)]
    assert (cut[0], cut[2]) == (stream("b\n" * 1000), stream("b\n" * 500))
    assert rest_of(cut[1]) == {
        "role": "rest",
        "files": {"": "n_files/c2-1.txt"},
        "left_out": 37_000,
    }
    words = "[37,000 characters left out here; all of it is in n_files/c2-1.txt]"
    assert cut[1]["data"] == {"text/plain": words}
    assert found.files == {"c2-1.txt": larger.encode()}
    assert [cell["metadata"]["kernel_exec"]["truncated"] for cell in small["cells"]] == [
        False,
        True,
    ]


@pytest.mark.parametrize(
    "output",
    [
        {"output_type": "stream", "name": "stdout", "text": "x" * 9000},
        {"output_type": "error", "ename": "E", "evalue": "", "traceback": ["x" * 9000]},
        {"output_type": "display_data", "data": {"text/plain": "x" * 9000}, "metadata": {}},
    ],
)
def test_a_text_that_history_has_in_a_file_is_not_written_to_another(output: JSONObject) -> None:
    mime = "text/plain" if "data" in output else ""
    made = notebook(output)
    made["cells"][0]["outputs"].append(rest({mime: "../a.txt"}))
    small, found = fitted(made, 1000)
    first, *rests = small["cells"][0]["outputs"]
    assert found.files == {}
    assert len(written(first)) < 4000
    assert {each["metadata"]["kernel_exec"]["files"][mime] for each in rests} == {"../a.txt"}


OURS = ["[all of it is in nowhere.txt]", "[9 characters left out here; all of it is in nowhere]"]


@pytest.mark.parametrize("end", OURS)
def test_a_text_that_ends_like_words_of_ours_is_cut_like_any_other(end: str) -> None:
    whole = f"{'x' * 60_000}\n{end}\n"
    small, found = fitted(notebook(stream(whole)), 1000)
    assert found.files == {"c1-1.txt": whole.encode()}
    assert small["cells"][0]["outputs"][2] == stream(whole[-1000:])


CUT: dict[str, tuple[JSONObject, str, bytes, str]] = {
    "JSON": ({"application/vnd.x+json": {"a": [1] * 9000}}, "json", b'{"a": [1, 1', "is in n_f"),
    "HTML": (
        {"text/html": ["<b>", "x" * 9000]},
        "html",
        b"<b>xxx",
        "[all of the text/html is in n_f",
    ),
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
    output, note = small["cells"][0]["outputs"]
    assert rest_of(note)["files"] == {mime: f"n_files/{file}"}
    assert output["data"]["text/plain"] == "short"
    assert told in json.dumps(note["data"])


def test_an_error_keeps_its_beginning_and_its_end() -> None:
    error: JSONObject = {
        "output_type": "error",
        "ename": "E",
        "evalue": "v" * 9000,
        "traceback": ["begin", "x" * 9000, "end"],
    }
    small, found = fitted(notebook(error), 1000)
    output, note = small["cells"][0]["outputs"]
    begins, _, ends = output["traceback"]
    assert begins.startswith("begin\nxxx")
    assert ends.endswith("x\nend")
    assert len(output["evalue"]) == 2000
    assert (rest_of(note)["message"], rest_of(note)["left_out"]) == (9000, 6010)
    assert found.files == {"c1-1.txt": b"begin\n" + b"x" * 9000 + b"\nend\n" + b"v" * 9000}


def test_a_picture_that_does_not_fit_is_linked_with_its_words() -> None:
    made = notebook(picture(png(size=200)))
    small, found = fitted(made, 10_000)
    output, note = small["cells"][0]["outputs"]
    assert output["data"] == {"text/plain": "<Figure>"}
    assert note["data"]["text/markdown"].startswith("![A (plot)](n_files/c1-1.png)\n\n```text\n[")
    assert rest_of(note)["alt"] == "A [plot]"
    assert found.files["c1-1.png"].startswith(b"\x89PNG")


def test_a_picture_that_is_none_is_in_a_file_as_it_is() -> None:
    _, found = fitted(notebook(picture("é" * 20_000)), 1000)
    assert found.files == {"c1-1.png": ("é" * 20_000).encode()}


def test_what_can_not_be_cut_stays() -> None:
    made = notebook(*[stream("x" * 1000)] * 10)
    small, found = fitted(made, 1000)
    assert small == made
    assert found.files == {}


def test_it_is_the_same_every_time() -> None:
    made = notebook(picture(png()), stream("x" * 90_000), picture(png(1)))
    assert written(fitted(made, 5000)[0]) == written(fitted(made, 5000)[0])
