"""No test writes into the cache of the user who runs it."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HPSBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
