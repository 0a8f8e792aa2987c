from __future__ import annotations

import itertools
import logging
import threading
import urllib.request

import pytest

pytest.register_assert_rewrite("undrift.testing.blobs")


@pytest.fixture(scope="session")
def s3_endpoint():
    """A service that speaks S3, in this process. It keeps the conditions of a write (If-Match, If-None-Match)."""
    from moto.s3.responses import S3Response
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    put_object, one_at_a_time = S3Response.put_object, threading.Lock()

    def checked_and_put(self):
        # moto looks at the condition and then writes, with other requests in between; S3 does both in one.
        with one_at_a_time:
            return put_object(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(S3Response, "put_object", checked_and_put)
        for name, value in {"AWS_ACCESS_KEY_ID": "AKIDTEST", "AWS_SECRET_ACCESS_KEY": "hidden-secret"}.items():
            patch.setenv(name, value)
        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/undrift-test", method="PUT")).close()
        yield endpoint
        server.stop()


_prefixes = itertools.count()


@pytest.fixture
def s3_url(s3_endpoint):
    """The address of an empty folder in a bucket."""
    return f"s3://undrift-test/deep/{next(_prefixes)}?endpoint={s3_endpoint}&region=us-east-1"
