"""MLflow's REST protocol as an adapter on the operations; see `undrift.hub.mlflow.app`.

To add routes: a module with ``ROUTES``, a tuple of `Route`, that `all_routes` in ``app.py`` names.
"""

from undrift.hub.mlflow.app import Mlflow, all_routes
from undrift.hub.mlflow.routes import Answer, Request, Route, threaded

__all__ = ["Answer", "Mlflow", "Request", "Route", "all_routes", "threaded"]
