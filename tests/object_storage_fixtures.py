"""Object storage, for test modules that say ``pytest_plugins = ("tests.object_storage_fixtures",)``."""

import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.object_storage import Between, Storage, listening, put


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Where a server with an empty ``bucket`` listens that speaks S3."""
    pytest.importorskip("s3fs", reason="the extra cloud is not installed")
    pytest.importorskip("moto.server", reason="moto is not installed")
    with listening("s3.py") as address:
        put(address, "bucket")
        yield address


@pytest.fixture(scope="module", params=["s3", "gs"])
def storage(request: pytest.FixtureRequest) -> Iterator[Storage]:
    if request.param == "s3":
        yield Storage("s3", {"endpoint": request.getfixturevalue("server")})
        return
    pytest.importorskip("gcsfs", reason="the extra cloud is not installed")
    pytest.importorskip("gcp_storage_emulator", reason="gcp-storage-emulator is not installed")
    with listening("gs.py") as address:
        known_to_nobody = {"FSSPEC_GS": '{"token": "anon"}', "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
        yield Storage("gs", {"STORAGE_EMULATOR_HOST": address, **known_to_nobody})


@pytest.fixture
def between(server: str) -> Iterator[Between]:
    state = Between()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # who sends much asks first whether it is wanted

        def do_GET(self) -> None:
            self.close_connection = True
            if "Range" in self.headers:
                state.asked(self.headers["Range"])
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.command == "PUT":
                state.receiving()
            if state.gone:
                return
            there = HTTPConnection(server.removeprefix("http://"))
            there.request(self.command, self.path, body, headers=dict(self.headers))
            answer = there.getresponse()
            content = answer.read()
            there.close()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("date", "server", "connection", "transfer-encoding"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

        def log_message(self, *arguments: object) -> None:
            pass

    waiting = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=waiting.serve_forever).start()
    state.address = f"http://127.0.0.1:{waiting.server_port}"
    yield state
    waiting.shutdown()
    waiting.server_close()
