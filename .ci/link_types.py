"""Lay out the package as type checkers want it: one tree of links under ``build/types``.

The folders stand at the top level of the checkout but are imported from inside
``parallelbench``; a type checker knows only the latter.
"""

import shutil
from pathlib import Path

root = Path(__file__).parents[1]
tree = root / "build" / "types" / "parallelbench"
shutil.rmtree(tree, ignore_errors=True)
tree.mkdir(parents=True)
for item in (root / "parallelbench").iterdir():
    if item.name != "__pycache__":
        (tree / item.name).symlink_to(item)
for wing in ("tasks", "decoders", "analysis", "leaderboards"):
    (tree / wing).symlink_to(root / wing)
