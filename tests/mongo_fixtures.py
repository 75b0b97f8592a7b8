"""A database and its tools, for test modules that say ``pytest_plugins = ("tests.mongo_fixtures",)``."""

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pymongo
import pytest
from pymongo.database import Database

from tests.mongo import COLLECTIONS_CODEC, Document, install_stand_in, server


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a server of this test session's own."""
    with server(tmp_path_factory.mktemp("secantus")) as address:
        yield address


@pytest.fixture
def database(mongo_server: str) -> Iterator[Database[Document]]:
    """An empty database; dates come back as `bson.DatetimeMS`."""
    name = f"novel_{uuid.uuid4().hex}"
    with pymongo.MongoClient[Document](f"mongodb://{mongo_server}/") as client:
        yield client.get_database(name, codec_options=COLLECTIONS_CODEC)
        client.drop_database(name)


@pytest.fixture
def tools(tmp_path: Path) -> str:
    """A PATH with mongoimport and mongoexport: the real ones where they are installed, else the stand-ins."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("mongoimport", "mongoexport"):
        if shutil.which(name) is None:
            install_stand_in(folder, name)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"
