"""Damage to the files of a dataset, for the tests of bad input."""

import shutil


def emptied(root, *held):
    """An empty folder in the place of ``root``, but for empty folders of the names ``held``."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for name in held:
        (root / name).mkdir()


def cut(path, where):
    """Keeps the first ``where`` bytes of a file, or that part of it where it is below 1; all but the last -``where`` where negative."""
    data = path.read_bytes()
    path.write_bytes(data[: int(where * len(data)) if 0 < where < 1 else where])
