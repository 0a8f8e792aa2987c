"""What MLflow's own server has, this hub has, or says in words that it does not support it."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

# In a process of its own: the server brings Flask and much more along. Without `model-versions` and the like nothing
# would be compared, so what is asked for is what the server itself has put into its table.
TABLE = """
import json
from mlflow.server import app
found = [(one.rule, sorted(one.methods - {"HEAD", "OPTIONS"})) for one in app.url_map.iter_rules()]
print(json.dumps(found))
"""
# Its own page, which is not shipped here.
PAGE = re.compile(r"/|/static-files/.*|/build/.*")
# The address of the page, without the slash that somebody forgot; the right one is there.
FORGOTTEN = {"/api/2.0mlflow/experiments/search-datasets", "/ajax-api/2.0mlflow/experiments/search-datasets"}
# The page and clients only post queries.
NEVER_SENT = {("GET", "/graphql")}
# What is for language models (traces, prompts, judges, gateways), for several tenants, or for jobs.
LATER = re.compile(
    r"/(?:ajax-)?api/[23]\.0/(?:mlflow/)?(?:traces|unified-traces|get-online-trace-details|get-trace-artifact|datasets"
    r"|scorers?|gateway|gateway-proxy|endpoints|issues|label-schemas|review-queues|prompt-optimization|jobs|demo|genai"
    r"|assistant|workspaces|mcp-servers|runs/create-promptlab-run)(?:[/-].*)?"
)


@pytest.fixture(scope="module")
def reference():
    """Each method and address of MLflow's own server."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", TABLE], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr[-2000:]
    found = [(method, rule) for rule, methods in json.loads(done.stdout.splitlines()[-1]) for method in methods]
    assert len(found) > 300
    return found


@pytest.mark.slow
def test_every_address_of_the_reference_is_answered_or_said_not_to_be_supported(http, reference):
    table = http.app.guard._app.routes
    answered, refused = [], []
    for method, rule in reference:
        if PAGE.fullmatch(rule) or rule in FORGOTTEN or (method, rule) in NEVER_SENT:
            continue
        path = re.sub(r"<[^>]*>", "something", rule)
        found = table.find(path)
        if found is not None and method in found.by_method:
            assert not LATER.fullmatch(rule), rule
            answered.append(rule)
        elif rule == "/health":
            assert http.get(rule).status_code == 200
        else:
            assert LATER.fullmatch(rule), f"{method} {rule} is neither there nor named as unsupported"
            answer = http.request(method, path, json=None if method == "GET" else {})
            # The page shows people every failure but a 404; a client would try a 500 again and again.
            assert answer.status_code == (404 if rule.startswith("/ajax-api/") else 501), (method, rule)
            assert answer.json()["error_code"] == "NOT_IMPLEMENTED"
            assert "does not support" in answer.json()["message"]
            refused.append(rule)
    assert len(answered) > 150
    assert len(refused) > 150
