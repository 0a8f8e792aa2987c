"""The scripts that run with MLflow's client are started by tests, and are none themselves."""

collect_ignore_glob = ["client_*.py"]
