"""`python -m visitwise` is the command `visitwise`."""

from visitwise.cli import main

main(prog_name="visitwise")
