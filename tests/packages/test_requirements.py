"""Which requirement strings an installer gets to see."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from kernel_exec.errors import InvalidArgumentError
from kernel_exec.packages.requirements import MOST, applies, conda_spec, parse_requirements

REFUSED = [
    "-r /etc/passwd", "-rsecret.txt", "--index-url=http://evil/simple", "-e .", "-e./evil",
    "--extra-index-url http://evil", ".", "..", "./evil", " ./evil", "/abs/evil", "~/evil",
    "C:\\evil", "evil @ file:///tmp/evil", "evil@file:///x", "x @ git+https://example.org/a/b",
    "git+https://example.org/a/b", "https://evil/x-1.0-py3-none-any.whl", "file:///x.whl", "x.whl",
    "evilz-1.zip", "numpy; rm -rf /", "numpy && id", "numpy|id", "$(id)", "`id`",
    "numpy\n--index-url=http://evil", "numpy\0", "numpy --index-url http://evil", "nu\u043cpy",
    "\uff4e\uff55\uff4d\uff50\uff59", "numpy\u202e", "", "   ", "a" * 300, "numpy>=1,--pre",
    "${HOME}", "%PATH%", "numpy --hash=sha256:abc", "../x.tar.gz", "numpy pandas", "numpy,pandas",
    "numpy#egg=x", "x/y", None, 5, ["a"], ["-r", "/etc/passwd"],
]  # fmt: skip


@pytest.mark.parametrize("package", REFUSED, ids=ascii)
def test_it_is_refused_by_name_and_with_the_way_out(package: object) -> None:
    with pytest.raises(InvalidArgumentError, match=r"is refused: .*give a name"):
        parse_requirements(["fine", package])


ALLOWED = {
    "numpy": "numpy",
    " numpy ": "numpy",
    "numpy==2.1.0": "numpy==2.1.0",
    "pandas[excel]>=2,<3": "pandas[excel]<3,>=2",
    "requests ; python_version > '3.8'": 'requests; python_version > "3.8"',
    "foo===1.0": "foo===1.0",
    "torch~=2.0": "torch~=2.0",
    "PIL": "PIL",
}


@pytest.mark.parametrize("package", ALLOWED)
def test_it_is_passed_on_normalised(package: str) -> None:
    assert parse_requirements([package]) == (ALLOWED[package],)


def test_repetitions_are_merged_and_too_many_refused() -> None:
    assert parse_requirements(["six", " six"]) == ("six",)
    with pytest.raises(InvalidArgumentError, match="at most 50"):
        parse_requirements(["six"] * (MOST + 1))
    with pytest.raises(InvalidArgumentError, match="at least one"):
        parse_requirements([])


@given(st.text(max_size=30))
def test_whatever_is_passed_on_is_a_plain_name(package: str) -> None:
    try:
        (passed,) = parse_requirements([package])
    except InvalidArgumentError:
        return
    assert Requirement(passed).url is None
    assert passed[0].isalnum()


MARKED = {
    "x": True,
    'x; sys_platform == "win32"': False,
    'x; sys_platform != "win32"': True,
    'x[a,b]; sys_platform == "win32"': False,
    'x; python_version < "3.9"': True,
    'x; python_full_version >= "3.8.20" and os_name == "posix"': True,
    'x; extra == "a"': False,
}


@pytest.mark.parametrize("requirement", MARKED)
def test_a_marker_is_weighed_with_the_values_of_its_environment(requirement: str) -> None:
    markers = {"sys_platform": "linux", "python_version": "3.8", "python_full_version": "3.8.20",
               "os_name": "posix"}  # fmt: skip
    assert applies(requirement, markers) is MARKED[requirement]


@pytest.mark.parametrize("marker", ['python_version ~= "x"', 'sys_platform ~= "linux"'])
def test_a_marker_that_can_not_be_weighed_is_refused(marker: str) -> None:
    with pytest.raises(InvalidArgumentError, match="its marker compares"):
        parse_requirements([f"x; {marker}"])


AS_CONDA_WRITES_IT = {
    "pandas": "pandas",
    "Pillow>=10,<12": "pillow<12,>=10",
    "numpy==2.1.*": "numpy=2.1",
    "numpy==2.1.0": "numpy==2.1.0",
    "foo===1.0": "foo==1.0",
    "torch~=2.0": "torch~=2.0",
    'tomli; python_version >= "3.11"': "tomli",
}


@pytest.mark.parametrize("requirement", AS_CONDA_WRITES_IT)
def test_conda_gets_a_requirement_in_its_own_words(requirement: str) -> None:
    (parsed,) = parse_requirements([requirement])
    assert conda_spec(parsed) == AS_CONDA_WRITES_IT[requirement]


def test_conda_has_no_extras() -> None:
    with pytest.raises(InvalidArgumentError, match=r"'pandas\[excel\]' has extras"):
        conda_spec("pandas[excel]")
