"""Where our own files lie."""

from pathlib import Path

INSIDE = Path(__file__).with_name("inside") / "main.py"
"""What a foreign interpreter runs, with a word for what it is to do: launch, probe or warden."""
