"""A context on either engine, for all tests of this room."""

from __future__ import annotations

import pytest


@pytest.fixture
def ctx(database, make_ctx):
    """A context to call operations with."""
    return make_ctx(database)
