"""Pickles: what is built, what is refused and by which name, and that nothing runs on the way."""

import builtins
import io
import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import scipy.sparse
import torch
from writers.smpl import official_pickle, standin
from writers.threedpw import python2_pickle

from hpsbench.errors import DataError, UnsafePickleError, WeightsError
from hpsbench.safeload import Record, load_pickle, load_torch


@pytest.fixture
def load(tmp_path):
    def load_bytes(data: bytes):
        path = tmp_path / "file.pkl"
        path.write_bytes(data)
        return load_pickle(path)

    return load_bytes


def same(a: object, b: object) -> bool:
    """Equal in type, dtype, shape and content, all the way down."""
    if isinstance(a, dict):
        return type(a) is type(b) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, (np.ndarray, np.generic)):
        return type(a) is type(b) and a.dtype == b.dtype and np.array_equal(a, b)
    if scipy.sparse.issparse(a):
        return type(a) is type(b) and a.shape == b.shape and not (a != b).nnz
    return type(a) is type(b) and a == b


VALUES = {
    "plain": {"a": [1, 2.5, None, True, "text", b"bytes", b""], "b": (1, (2, 3)), "c": {4, 5}, "d": frozenset({6}), "e": 1 + 2j},
    "ordered": OrderedDict(z=1, a=[2]),
    "float64": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "big-endian": np.arange(3, dtype=">f4"),
    "bool": np.array([True, False]),
    "empty": np.zeros((0, 3)),
    "zero-dimensional": np.array(2.5),
    "text": np.array(["one", "three"]),
    "bytes": np.array([b"one", b"three"]),
    "objects": np.array([None, "a", np.arange(2)], dtype=object),
    "scalar": [np.float32(1.5), np.int64(3), np.bool_(True)],
    "csc": scipy.sparse.csc_matrix(np.diag([1.0, 0, 2])),
    "csr": scipy.sparse.csr_matrix(np.array([[0, 0, 3.0]])),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", sorted(VALUES))
def test_what_goes_in_comes_out(load, name, protocol):
    loaded = load(pickle.dumps(VALUES[name], protocol))
    if name == "objects":
        assert loaded[:2].tolist() == [None, "a"]
        assert same(loaded[2], np.arange(2))
    else:
        assert same(loaded, VALUES[name])


def test_the_recipe_of_forged_arrays_is_right(load):
    assert same(load(array_pickle(1, "S8")), np.array([b"A" * 8]))


def test_arrays_can_be_written_to(load):
    array = load(pickle.dumps(np.zeros(3)))
    array += 1
    assert array.tolist() == [1, 1, 1]


def test_python2_pickles(load):
    value = {"poses": [np.arange(6.0).reshape(2, 3)], "genders": ["m", "f"], "long": "x" * 300, "count": np.int64(3)}
    data = python2_pickle(value)
    assert b"numpy.core.multiarray" in data
    with pytest.raises(UnicodeDecodeError):
        pickle.loads(data)
    assert same(load(data), value)


def test_shared_and_cyclic_values_stay_so(load):
    array = np.arange(3)
    cycle = [array, array]
    cycle.append(cycle)
    loaded = load(pickle.dumps(cycle))
    assert loaded[0] is loaded[1]
    assert loaded[2] is loaded


def test_official_style_body_file_without_chumpy(load):
    body, _ = standin(1)
    content = load(official_pickle(body))
    assert content["shapedirs"].shape == (6890, 3, 12)
    for name in ("v_template", "posedirs", "weights"):
        np.testing.assert_array_equal(content[name], body[name])
    np.testing.assert_array_equal(content["shapedirs"][:, :, :10], body["shapedirs"])
    np.testing.assert_array_equal(content["J_regressor"].toarray(), body["J_regressor"])
    assert isinstance(content["J"], Record)
    assert content["J"].kind == "chumpy.ch.MatVecMult"


def test_protocol_0_objects(load):
    data = b"ccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\nc__builtin__\nobject\nNtR(dS'x'\nF2.5\nsb."
    assert load(data) == np.float64(2.5)


class Call:
    """Pickles as a call of ``function``."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("function", "name"),
    [
        (os.system, f"{os.system.__module__}.system"),
        (eval, "eval"),
        (exec, "exec"),
        (getattr, "getattr"),
        (builtins.open, "open"),
        (np.load, "load"),
    ],
)
def test_code_is_refused_by_name_and_not_run(load, tmp_path, function, name, protocol):
    witness = tmp_path / "witness"
    text = {"eval": f"open({str(witness)!r}, 'w')", "exec": f"open({str(witness)!r}, 'w')"}.get(name, f"touch {witness}")
    arguments = (str(witness), "w") if name == "open" else (text,)
    with pytest.raises(UnsafePickleError, match=rf"file.pkl: the pickle asks for '\S*{name}'.*Nothing of it was run"):
        load(pickle.dumps({"deep": [Call(function, *arguments)]}, protocol))
    assert not witness.exists()


@pytest.mark.parametrize(
    "name", ["numpy\nload", "numpy.core.multiarray\nfromfile", "scipy.sparse\nload_npz", "__builtin__\neval", "builtins\n__import__"]
)
def test_neighbours_of_the_allowed_are_refused(load, name):
    with pytest.raises(UnsafePickleError, match=name.replace("\n", ".")):
        load(b"c" + name.encode() + b"\n(S'x'\ntR.")


def test_an_attribute_of_an_allowed_module_is_refused(load):
    with pytest.raises(UnsafePickleError, match=r"chumpy\.ch\.os\.system"):
        load(b"\x80\x04\x8c\x09chumpy.ch\x8c\x09os.system\x93)R.")


def test_a_chumpy_class_of_any_name_is_inert(load):
    assert load(b"cchumpy.posix\nsystem\n(S'exit 1'\ntR.").kind == "chumpy.posix.system"


def array_pickle(length: int, kind: str) -> bytes:
    """An array of ``length`` entries of a type, over eight bytes of content."""
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
    return empty + f"(I1\n(I{length}\ntcnumpy\ndtype\n(S'{kind}'\nI0\nI1\ntRI00\nS'AAAAAAAA'\ntb.".encode()


FORGED = {
    "object array from raw bytes": array_pickle(1, "O8"),
    "size and shape disagree": array_pickle(9, "f8"),
    "negative size": array_pickle(-2, "f8"),
    "structured type": array_pickle(1, "V8"),
    "array without content": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR.",
    "state on a class": b"cnumpy\nndarray\n(dS'kind'\nS'csc'\nsb.",
    "attribute on a class": b"ccollections\nOrderedDict\n(N(dS'update'\nS'x'\nstb.",
    "bare class": b"cnumpy\nndarray\n.",
    "rebuilt container": b"ccopy_reg\n_reconstructor\n(c__builtin__\ndict\nc__builtin__\nobject\nNtR.",
    "bytes by another codec": b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.",
    "persistent object": b"Pname\n.",
    "value of itself": b"cchumpy.ch\nCh\n)Rp0\n(dS'x'\ng0\nsb.",
}


@pytest.mark.parametrize("name", sorted(FORGED))
def test_forged_pickles_are_broken_not_obeyed(load, name):
    with pytest.raises(DataError, match="is not a whole pickle"):
        load(FORGED[name])


def test_sparse_matrix_that_points_outside_itself(load):
    matrix = scipy.sparse.csc_matrix(np.eye(3))
    matrix.indices[1] = 10**6
    with pytest.raises(DataError, match="is not a whole pickle"):
        load(pickle.dumps(matrix))


def test_nesting_without_end(load):
    with pytest.raises(DataError, match="is not a whole pickle"):
        load(b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_truncated(load, share):
    data = pickle.dumps({"a": np.arange(1000.0)})
    with pytest.raises(DataError, match=r"file.pkl is not a whole pickle .* copy or download it again"):
        load(data[: int(share * len(data))])


def test_not_a_pickle(load):
    with pytest.raises(DataError, match="is not a whole pickle"):
        load(b"version https://git-lfs.github.com/spec/v1\n")


def test_no_file(tmp_path):
    with pytest.raises(DataError, match=r"Could not read .*nothing\.pkl: No such file"):
        load_pickle(tmp_path / "nothing.pkl")
    with pytest.raises(DataError, match="Could not read"):
        load_pickle(tmp_path)


class TestLoadTorch:
    def test_tensors_come_back(self, tmp_path):
        torch.save({"model": OrderedDict(w=torch.ones(2))}, tmp_path / "a.pth")
        assert load_torch(tmp_path / "a.pth")["model"]["w"].tolist() == [1, 1]

    def test_code_is_not_run(self, tmp_path):
        witness = tmp_path / "witness"
        torch.save({"x": Call(os.system, f"touch {witness}")}, tmp_path / "a.pth")
        with pytest.raises(WeightsError, match=r"a.pth is not a checkpoint of tensors.*Nothing of it was run"):
            load_torch(tmp_path / "a.pth")
        assert not witness.exists()

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
    def test_truncated(self, tmp_path, share):
        stream = io.BytesIO()
        torch.save({"w": torch.zeros(1000)}, stream)
        data = stream.getvalue()
        (tmp_path / "a.pth").write_bytes(data[: int(share * len(data))])
        with pytest.raises(WeightsError, match=r"a\.pth is not a"):
            load_torch(tmp_path / "a.pth")

    def test_no_file(self, tmp_path):
        with pytest.raises(WeightsError, match=r"Could not read .*a\.pth"):
            load_torch(tmp_path / "a.pth")
