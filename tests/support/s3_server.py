"""An S3 server on this machine (moto), which can be told to answer with errors."""

import contextlib
import threading

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "photos"


class Server:
    """The server's address; what it was asked for; and the errors that it is to answer with: (status, code, how often) of
    requests whose path ends so."""

    def __init__(self):
        self.app = DomainDispatcherApplication(create_backend_app)
        self.asked, self.faults = [], {}
        self.http = make_server("127.0.0.1", 0, self.answer, threaded=True)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def answer(self, environ, start):
        """Answer a request: with an error if one is left for it."""
        path = environ["PATH_INFO"]
        self.asked.append(f"{environ['REQUEST_METHOD']} {path}")
        for end, (status, code, left) in self.faults.items():
            if path.endswith(end) and left:
                self.faults[end] = (status, code, left - 1)
                start(f"{status} Fault", [("Content-Type", "application/xml")])
                return [f"<Error><Code>{code}</Code><Message>told to</Message></Error>".encode()]
        return self.app(environ, start)

    @property
    def options(self):
        """What fsspec needs to reach it. Clients do not try again by themselves."""
        return {
            "key": "a",
            "secret": "b",
            "endpoint_url": self.url,
            "client_kwargs": {"region_name": "us-east-1"},
            "config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 2, "read_timeout": 5},
            "skip_instance_cache": False,
        }

    def put(self, files):
        """Write objects into the bucket: key -> bytes."""
        for key, data in files.items():
            self.client.put_object(Bucket=BUCKET, Key=key, Body=data)

    @property
    def client(self):
        """A plain client, which does not go through our code."""
        return boto3.client(
            "s3", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        )


@contextlib.contextmanager
def running():
    """A server with an empty bucket."""
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, daemon=True)
    thread.start()
    try:
        server.client.create_bucket(Bucket=BUCKET)
        yield server
    finally:
        server.http.shutdown()
        thread.join()
