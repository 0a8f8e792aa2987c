"""The hub: every operation over HTTP, the pages people look at, and what says whether all is well.

Words: *problem* (an error over HTTP, RFC 9457), *guard* (who may reach the hub from a browser, and how much they may
send), *page*. The hub runs no code of users and loads no model; it translates between HTTP and operations.
"""

from undrift.hub.app import build_app
from undrift.hub.server import run

__all__ = ["build_app", "run"]
