"""Pickled pandas DataFrames and torch tensors: read without pandas and without the device that they were on."""

import pickle
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from layouts.agora import cuda_pickle

from hpsbench.errors import DataError, UnsafePickleError
from hpsbench.safeload import load_pickle

DATA = Path(__file__).parent / "data" / "frames"


@pytest.fixture
def load(tmp_path):
    def load_bytes(data: bytes):
        path = tmp_path / "file.pkl"
        path.write_bytes(data)
        return load_pickle(path)

    return load_bytes


class TestFrames:
    @pytest.mark.parametrize("name", ["pandas-1.0.5", "pandas-1.3.5", "pandas-1.5.3", "pandas-2.2.3"])
    def test_written_by_the_pandas_of_its_name(self, name):
        """Rows 0 and 2 of three, by DataFrame.to_pickle."""
        table = load_pickle(DATA / f"{name}.pkl")
        assert list(table) == ["imgPath", "camX", "camYaw", "kid", "gt_joints_2d", "late"]
        assert table["imgPath"].tolist() == ["ag_0.png", "ag_2.png"]
        assert table["camX"].tolist() == [1.5, 3.5]
        assert table["camYaw"].tolist() == [0, 6]
        assert table["kid"].tolist() == [[True, False], [True, False]]
        assert table["late"].tolist() == [True, True]
        assert [len(joints) for joints in table["gt_joints_2d"]] == [2, 2]
        np.testing.assert_array_equal(table["gt_joints_2d"][1][0], [[2, 3], [4, 5]])

    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    def test_written_by_the_pandas_at_hand(self, load, protocol):
        frame = pd.DataFrame({"b": [1.0, 2.0], "a": pd.Series(["x", "y"], dtype=object), "c": [3.0, 4.0]})
        frame.columns = pd.Index(list(frame.columns), dtype=object)
        table = load(pickle.dumps(frame, protocol))
        assert {name: column.tolist() for name, column in table.items()} == {"b": [1, 2], "a": ["x", "y"], "c": [3, 4]}
        assert list(table) == ["b", "a", "c"]

    def test_code_inside_a_cell_is_refused_by_name(self, load):
        frame = pd.DataFrame({"a": pd.Series([print, print], dtype=object)})
        frame.columns = pd.Index(["a"], dtype=object)
        with pytest.raises(UnsafePickleError, match=r"builtins\.print"):
            load(pickle.dumps(frame))

    @pytest.mark.parametrize("name", ["pandas.io.common\nget_handle", "pandas\nread_pickle", "pandas.core.computation.eval\neval"])
    def test_other_names_of_pandas_are_refused(self, load, name):
        with pytest.raises(UnsafePickleError, match=name.replace("\n", ".")):
            load(f"c{name}\n.".encode())

    def test_rows_without_end(self, load):
        frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
        frame.columns = pd.Index(["a", "b"], dtype=object)
        data = pickle.dumps(frame, 2)
        stop = data.index(b"K\x02", data.index(b"stop"))
        with pytest.raises(DataError, match=r"2 columns and 2147483647 rows holds \(2, 2\)"):
            load(data[:stop] + b"J\xff\xff\xff\x7f" + data[stop + 2 :])

    @pytest.mark.parametrize("what", ["collections\nOrderedDict", "builtins\nlist", "torch.storage\n_load_from_bytes"])
    def test_partial_of_anything_but_a_block_is_not_called(self, load, what):
        with pytest.raises(DataError, match="called like a function"):
            load(b"\x80\x02cfunctools\npartial\nc" + what.encode() + b"\n\x85R)R.")

    def test_frame_without_blocks(self, load):
        with pytest.raises(DataError, match="without its blocks"):
            load(b"\x80\x02cpandas.core.frame\nDataFrame\n)\x81}b.")


TENSORS = {
    "cut": torch.arange(24.0).reshape(2, 3, 4).transpose(0, 2)[1:],
    "double": torch.linspace(0, 1, 5, dtype=torch.float64),
    "long": torch.arange(3),
    "bool": torch.tensor([True, False]),
    "empty": torch.zeros(0, 3),
    "scalar": torch.tensor(2.5),
    "repeated": torch.ones(1).expand(3, 2),
    "grad": torch.ones(1, 3, requires_grad=True) * 2,
    "parameter": torch.nn.Parameter(torch.ones(1, 10)),
}


class TestTensors:
    @pytest.mark.parametrize("name", sorted(TENSORS))
    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    def test_becomes_an_array(self, load, name, protocol):
        expected = TENSORS[name].detach().numpy()
        found = load(pickle.dumps({"t": TENSORS[name]}, protocol))["t"]
        assert (type(found), found.dtype, found.shape) == (np.ndarray, expected.dtype, expected.shape)
        np.testing.assert_array_equal(found, expected)

    def test_of_a_gpu_on_a_machine_without_one(self, load):
        data = cuda_pickle({"root_pose": torch.full((1, 1, 3), 0.5, requires_grad=True)})
        assert b"cuda:0" in data
        if not torch.cuda.is_available():
            with pytest.raises(RuntimeError, match="deserialize object on a CUDA device"):
                pickle.loads(data)
        np.testing.assert_array_equal(load(data)["root_pose"], np.full((1, 1, 3), 0.5, np.float32))

    def test_code_inside_the_storage_is_refused_by_name(self, load):
        blob = BytesIO()
        pickle.dump(print, blob, 2)
        data = b"\x80\x03ctorch.storage\n_load_from_bytes\nC" + bytes([len(blob.getvalue())]) + blob.getvalue() + b"\x85R."
        with pytest.raises(UnsafePickleError, match="print"):
            load(data)

    @pytest.mark.parametrize("name", ["torch\nload", "torch._utils\n_rebuild_device_tensor_from_numpy", "torch.hub\nload"])
    def test_other_names_of_torch_are_refused(self, load, name):
        with pytest.raises(UnsafePickleError, match=name.replace("\n", ".")):
            load(f"c{name}\n.".encode())

    def test_view_beyond_its_storage(self, load):
        data = pickle.dumps(torch.arange(4), 2)
        assert data.count(b"K\x04\x85") == 1
        with pytest.raises(DataError, match="of a storage of 4"):
            load(data.replace(b"K\x04\x85", b"K\x05\x85"))

    def test_repeated_without_end(self, load):
        data = pickle.dumps(torch.ones(1).expand(77), 2)
        assert data.count(b"KM\x85") == 1
        with pytest.raises(DataError, match="of a storage of 1"):
            load(data.replace(b"KM\x85", b"J\xff\xff\xff\x7f\x85"))

    def test_cut_storage(self, load):
        data = pickle.dumps(torch.arange(4, dtype=torch.float64), 3)
        size = 8 * 4
        blob = data.index(torch.arange(4, dtype=torch.float64).numpy().tobytes())
        head = data[:blob]
        start = head.rindex(b"B", 0, head.index(b"\x8a\nl\xfc"))
        length = int.from_bytes(data[start + 1 : start + 5], "little")
        cut = data[:start] + b"B" + (length - 8).to_bytes(4, "little") + data[start + 5 : blob + size - 8] + data[blob + size :]
        with pytest.raises(DataError, match="4 elements with 24 bytes"):
            load(cut)
