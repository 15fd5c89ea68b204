"""What all tests share: a cache that is not the user's, and commands as typed."""

import sys

import pytest

from hpsbench.cli.main import main


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HPSBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Types a command in an empty folder; gives (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPSBENCH_DATA", raising=False)
    monkeypatch.delenv("HPSBENCH_BODY", raising=False)

    def typed(*words):
        monkeypatch.setattr(sys, "argv", ["hpsbench", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return typed
