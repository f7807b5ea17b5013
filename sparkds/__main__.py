"""``python -m sparkds``: the command line."""

from sparkds.cli import entry

entry()
