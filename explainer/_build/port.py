"""Says, before any long work, whether the site can be served: `python explainer/_build/port.py 8000`.

Run by the system's Python, before the environment exists: the standard library alone.
"""

import socket
import sys


def problem(text: str) -> str | None:
    """Why this port cannot be used, or None."""
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        return f"PORT={text} is no port; expected a number from 1 to 65535, such as: make site PORT=8001"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(text)))
        except OSError as error:
            other = int(text) % 65535 + 1
            return f"port {text} cannot be used ({error.strerror}); choose another one, such as: make site PORT={other}"
    return None


if __name__ == "__main__":
    trouble = problem(sys.argv[1])
    if trouble:
        sys.exit(trouble)
