"""`python -m isobatch`: the same as the command `isobatch`."""

from isobatch.cli import main

main()
