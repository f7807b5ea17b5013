"""Task entry: what a process of a local run executes - a wheel's entry point, a Python file, or a notebook.

Run by its path in the environment of the wheel, so it imports nothing of this package: ``python task_entry.py KIND WHAT… ARGUMENTS…``.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys
from importlib.metadata import distribution
from pathlib import Path


def main(arguments: list[str]) -> None:
    """Run one of ``wheel PACKAGE ENTRY …``, ``file PATH …`` and ``notebook PATH``."""
    sys.path.pop(0)  # the folder of this file, which holds modules of other things
    if os.environ.get("SPARKDS_SERVERLESS") == "1":
        _refuse()
    kind, what, rest = arguments[0], arguments[1], arguments[2:]
    if kind == "wheel":
        points = {point.name: point for point in distribution(what).entry_points}
        sys.argv = rest
        raise SystemExit(points[rest[0]].load()())
    sys.argv = [what, *rest]
    runpy.run_path(what, run_name="__main__")


def _refuse() -> None:
    """Load the refusals from the file beside this one."""
    spec = importlib.util.spec_from_file_location("_refusals_of_serverless", Path(__file__).with_name("serverless.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.refuse_what_serverless_refuses()


if __name__ == "__main__":
    main(sys.argv[1:])
