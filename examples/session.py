"""The demo's analysis as a short MCP client: a plot, a mistake, its repair, a notebook.

python examples/session.py FOLDER
"""

import asyncio
import sys

from mcp import Client
from mcp.client.stdio import StdioServerParameters

STEPS = (
    (
        "Load the measurements, and keep the complete rows",
        "from palmerpenguins import load_penguins\n"
        "penguins = load_penguins().dropna().reset_index(drop=True)\n"
        "penguins",
    ),
    (
        "Fit a line",
        "import numpy as np\n"
        "slope, intercept = np.polyfit(penguins.flipper_length, penguins.body_mass_g, 1)",
    ),
    (
        "Fit a line, with the column's right name",
        "slope, intercept = np.polyfit(penguins.flipper_length_mm, penguins.body_mass_g, 1)\n"
        "print(f'{slope:.1f} g for each mm')",
    ),
    (
        "Plot it",
        "import matplotlib.pyplot as plt\n"
        "plt.scatter(penguins.flipper_length_mm, penguins.body_mass_g, s=8)\n"
        "plt.axline((180, 180 * slope + intercept), slope=slope, color='black')\n"
        "plt.show()",
    ),
)


async def main(folder: str) -> None:
    """Run the steps in an environment of their own below `folder`, and print what comes back."""
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "kernel_exec"], env={"CODE_STORAGE_DIR": folder}
    )
    async with Client(server) as client:
        packages = ["pandas", "matplotlib", "palmerpenguins"]
        await client.call_tool("install_dependencies", {"packages": packages, "wait_seconds": 300})
        for title, code in STEPS:
            result = await client.call_tool(
                "execute_code", {"code": code, "title": title, "wait_seconds": 120}
            )
            print(f"--- {title}")
            for block in result.content:
                print(block.text if block.type == "text" else f"<{block.type}>", end="")
        exported = await client.call_tool("export_notebook", {})
        print((exported.structured_content or {})["path"])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
