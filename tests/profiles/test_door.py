from __future__ import annotations

import subprocess
import sys

import undrift.profiles


def test_every_name_of_the_door_exists():
    assert all(hasattr(undrift.profiles, name) for name in undrift.profiles.__all__)


def test_importing_the_room_loads_neither_numpy_nor_polars():
    code = (
        "import sys, undrift.profiles; sys.exit(bool({'numpy', 'polars', 'scipy', 'datasketches'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
