import errno
import os

import pytest

from hpsbench.errors import HpsbenchError
from hpsbench.store import sha256_of_bytes, sha256_of_file, whole_file, write_bytes, write_text


def test_text_and_bytes_arrive_whole(tmp_path):
    write_text(tmp_path / "new" / "a.txt", "pose é\n")
    write_bytes(tmp_path / "b.bin", b"\x00\x01")
    assert (tmp_path / "new" / "a.txt").read_bytes() == b"pose \xc3\xa9\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.bin", "new"]


def test_a_failed_block_leaves_the_old_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "a.txt", "old")

    def write_half():
        with whole_file(tmp_path / "a.txt", "w") as stream:
            stream.write("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_full_disk_is_one_message_and_no_file(tmp_path, monkeypatch):
    def no_space(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(HpsbenchError, match=r"Could not write .*a\.txt: No space left on device"):
        write_text(tmp_path / "a.txt", "new")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_one_message(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(HpsbenchError, match="Could not write"):
        write_text(tmp_path / "results" / "a.txt", "new")


def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o022)
    try:
        write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(old)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o644


def test_sha256_of_a_known_text(tmp_path):
    write_bytes(tmp_path / "abc", b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of_file(tmp_path / "abc") == known == sha256_of_bytes(b"abc")
