"""The analysis that the demo runs: real data, real cleaning, one mistake. Data only."""

from dataclasses import dataclass

PACKAGES = ("pandas", "matplotlib", "palmerpenguins")
"""The last one brings the measurements of 344 penguins, some of them missing."""

TITLE = "Do longer flippers go with heavier penguins?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One execution: its title, its code, and how long to wait for it at first (seconds)."""

    title: str
    code: str
    wait_seconds: float = 45


STEPS = (
    Step(
        title="Load the measurements",
        code="""\
import pandas as pd
from palmerpenguins import load_penguins

penguins = load_penguins()
penguins""",
    ),
    Step(
        title="Look for what is missing",
        code="""\
missing = penguins.isna().sum()
print(missing[missing > 0])
penguins.groupby("species").size()""",
    ),
    Step(
        title="Keep the complete rows",
        code="""\
clean = penguins.dropna().reset_index(drop=True)
print(f"{len(penguins) - len(clean)} of {len(penguins)} rows dropped")""",
    ),
    Step(
        title="Flipper length against body mass",
        code="""\
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(6, 4))
for species, group in clean.groupby("species"):
    axes.scatter(group.flipper_length_mm, group.body_mass_g, s=12, label=species)
axes.set(xlabel="flipper length (mm)", ylabel="body mass (g)")
axes.legend()
plt.show()""",
    ),
    Step(
        title="Fit a line",
        code="""\
import numpy as np

slope, intercept = np.polyfit(clean.flipper_length, clean.body_mass_g, 1)""",
    ),
    Step(
        title="Fit a line, with the column's right name",
        code="""\
import numpy as np

slope, intercept = np.polyfit(clean.flipper_length_mm, clean.body_mass_g, 1)
residual = clean.body_mass_g - (slope * clean.flipper_length_mm + intercept)
r_squared = 1 - residual.var() / clean.body_mass_g.var()
print(f"{slope:.1f} g for each mm, R² = {r_squared:.3f}")""",
    ),
    Step(
        title="How sure is the slope? Resample 3,000 times",
        wait_seconds=0.5,
        code="""\
random = np.random.default_rng(0)
slopes = []
for round in range(3_000):
    sample = clean.iloc[random.integers(0, len(clean), len(clean))]
    slopes.append(np.polyfit(sample.flipper_length_mm, sample.body_mass_g, 1)[0])
    if (round + 1) % 1000 == 0:
        print(f"{round + 1} resamples", flush=True)
low, high = np.percentile(slopes, [2.5, 97.5])
print(f"95 % of the slopes lie between {low:.1f} and {high:.1f} g/mm")""",
    ),
    Step(
        title="The slopes",
        code="""\
figure, axes = plt.subplots(figsize=(6, 3))
axes.hist(slopes, bins=40)
axes.axvline(slope, color="black")
axes.set(xlabel="g for each mm", ylabel="resamples")
plt.show()""",
    ),
)

NOTE = """\
### What was found

Longer flippers go with heavier penguins. The line is fitted over all three species at once; \
within one species it may differ, so a model that knows the species is the next thing to try."""
