"""What the numbers of a build were computed with: versions, and the commit with its date."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path


def versions() -> str:
    """Of what decides a number: the package, Python and PyTorch."""
    torch = version("torch").split("+")[0]
    return f"visitwise {version('visitwise')}, Python {platform.python_version()}, PyTorch {torch}"


def commit(root: Path) -> str:
    """The commit and its day, as `, commit 1a2b3c4 of 2026-01-31`; empty where there is no repository."""
    command = ["git", "-C", str(root), "log", "-1", "--format=%h of %cs"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return f", commit {done.stdout.strip()}" if done.returncode == 0 and done.stdout.strip() else ""
