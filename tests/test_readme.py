"""The README is true: what it shows comes from where it stands."""

from tests.benchmarks.report import README, as_markdown, load


def test_the_figures_are_those_that_were_measured() -> None:
    assert as_markdown(load()) in README.read_text("utf-8")
