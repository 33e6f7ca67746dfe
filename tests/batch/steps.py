#!/usr/bin/env python3
"""The walk itself, where Azure's clients are installed: `steps.py FACTS`. `walk.py` starts what it needs and then this."""

import json
import logging
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parent), str(HERE.parent / "sdk")]

import callers  # noqa: E402
import furnish  # noqa: E402
import on_behalf  # noqa: E402
import three_stores  # noqa: E402
from checks import Checks  # noqa: E402 - of tests/sdk, as is what it knows of clients
from world import World  # noqa: E402

LEAST = 90


def main(file, only=None):
    # What the clients log besides is no part of what is checked.
    logging.disable(logging.CRITICAL)
    world = World(json.loads(Path(file).read_text()))
    checks = Checks()
    for chapter in (furnish, three_stores, callers, on_behalf):
        if only not in (None, chapter.__name__) and chapter is not furnish:
            continue
        with checks.chapter(chapter.__name__, chapter.__doc__.splitlines()[0]):
            chapter.run(world, checks)
    return 0 if checks.summary(1 if only else LEAST) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
