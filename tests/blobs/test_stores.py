from __future__ import annotations

import pytest

from undrift.blobs import open_store
from undrift.testing.blobs import ByteStoreContract, RepositoryContract


class _InFolder:
    @pytest.fixture
    def store(self, tmp_path_factory):
        return open_store(str(tmp_path_factory.mktemp("store") / "new"))


class _InMemory:
    @pytest.fixture
    def store(self):
        return open_store("memory://")


class _InBucket:
    @pytest.fixture
    def store(self, s3_url):
        return open_store(s3_url)


class TestFolder(_InFolder, ByteStoreContract): ...


class TestMemory(_InMemory, ByteStoreContract): ...


class TestBucket(_InBucket, ByteStoreContract): ...


class TestRepositoryInFolder(_InFolder, RepositoryContract): ...


class TestRepositoryInMemory(_InMemory, RepositoryContract): ...


class TestRepositoryInBucket(_InBucket, RepositoryContract): ...
