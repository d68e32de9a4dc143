"""The demo's analysis as a short MCP client: a plot, a mistake, its repair, a notebook.

python examples/session.py FOLDER
"""

import asyncio
import os
import sys

from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters
from mcp_types import CallToolResult

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


PASSED_ON = ("_PROXY", "SSL_CERT_", "_CA_BUNDLE", "UV_", "PIP_")
"""Parts of the names of variables about proxies, certificates and package indexes."""


async def main(folder: str) -> str:
    """Run the steps in an environment of their own below `folder`, and print what comes back.

    Returns why it could not go on, or "".
    """
    variables = {
        name: value
        for name, value in os.environ.items()
        if name != "UV_VENV_PATH" and any(part in name.upper() for part in PASSED_ON)
    }
    server = StdioServerParameters(
        command=sys.executable,
        args=["-P", "-m", "kernel_exec", "--config", os.devnull, "serve", "--in-process"],
        env={**variables, "CODE_STORAGE_DIR": folder},
    )
    async with Client(server) as client:
        packages = ["pandas", "matplotlib", "palmerpenguins"]
        done = await client.call_tool(
            "install_dependencies", {"packages": packages, "wait_seconds": 300}
        )
        if done.is_error:
            return text_of(done)
        for title, code in STEPS:
            result = await client.call_tool(
                "execute_code", {"code": code, "title": title, "wait_seconds": 120}
            )
            print(f"--- {title}\n{text_of(result)}", end="")
        exported = await client.call_tool("export_notebook", {})
        if exported.is_error:
            return text_of(exported)
        print((exported.structured_content or {})["path"])
        return ""


def text_of(result: CallToolResult) -> str:
    """The text of a result, with a mark where there is something else."""
    return "".join(
        block.text if block.type == "text" else f"<{block.type}>\n" for block in result.content
    )


def run(folder: str) -> str:
    """Run it all; why it failed, in a line, or "" if it did not."""
    failure = ""
    try:
        failure = asyncio.run(main(folder))
        sys.stdout.flush()
    except* (MCPError, OSError) as errors:
        first: BaseException = errors
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        failure = f"error: {first}"
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what could not be printed is not tried again
    except* KeyboardInterrupt:
        failure = "interrupted"
    return failure


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/session.py FOLDER")
    sys.exit(run(sys.argv[1]) or 0)
