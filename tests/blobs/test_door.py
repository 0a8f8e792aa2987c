from __future__ import annotations

import subprocess
import sys

import undrift.blobs


def test_every_name_at_the_door_exists():
    assert [name for name in undrift.blobs.__all__ if not hasattr(undrift.blobs, name)] == []


def test_the_door_opens_without_heavy_packages():
    script = "import sys, undrift.blobs; print({name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "'msgspec'" in loaded
    for name in ("obstore", "polars", "numpy", "pyarrow", "sqlalchemy", "pytest", "httpx"):
        assert f"'{name}'" not in loaded
