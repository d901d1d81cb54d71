"""`chatimg-admin status`: how the box does, on one screen.

Exit status 0: all is well; 1: something needs the administrator.

Every file of /usr/lib/chatimg/status has a function look() that gives back a section of it.
"""

import argparse
import importlib.util
import json
import sys
from pathlib import Path

from chatimg_box import health
from chatimg_box.health import Section

SUMMARY = "how the box does; exit status 1 if something needs you"
FOLDER = Path(__file__).resolve().parents[1] / "status"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    sections = [section(path) for path in sorted(FOLDER.glob("*.py"))]
    if args.json:
        print(json.dumps(health.as_json(sections), indent=2))
    else:
        print(health.as_text(sections))
    return 1 if any(one.problems for one in sections) else 0


def section(path: Path) -> Section:
    """A section that cannot be had is a problem by itself, and hides no other."""
    name = path.stem.partition("-")[2]
    try:
        spec = importlib.util.spec_from_file_location(f"chatimg_status_{name}", path)
        if spec is None or spec.loader is None:
            raise ImportError("it is no Python module")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module.look()
    except Exception as error:  # noqa: BLE001 - whatever it is, the other sections matter more
        failed = Section(name, [f"cannot be looked at: {error}"])
        failed.problem(
            f"the status of {name} cannot be had: {type(error).__name__}: {error}", "report this as a bug of chatimg"
        )
        return failed
