"""Several protocols in one pass, crops, and the engines that share the work."""

import json
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from fakes import FakeDataset, exact_bodies

from hpsbench import generate as room
from hpsbench.cli.main import cli
from hpsbench.datasets.base import open_dataset
from hpsbench.errors import HpsbenchError, MissingExtraError, ProtocolError, ResultError
from hpsbench.evaluate import evaluate
from hpsbench.evaluate.people import FrameReader
from hpsbench.generate import Crops, generate, generate_all, merge, verify
from hpsbench.generate.crops import cropped_view
from hpsbench.generated import load_generated
from hpsbench.geometry import rotvec_to_rotmat
from hpsbench.image import crop_square, read_image
from hpsbench.models.base import Model
from hpsbench.protocol import load_protocol
from hpsbench.types import Card, CropSpec, Occlusion, OcclusionPlan, Prediction, View

XOCC, CLEAN, BAR = (load_protocol(name) for name in ("openhps-xocc", "openhps-test", "matched-bar@openhps-test"))
SPEC = CropSpec(48, 1.25)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(room, "_FRAMES_TO_A_PART", 3)


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Counted(FakeDataset):
    """Counts how often an image is read."""

    def __init__(self):
        super().__init__()
        self.reads = []

    def sample_at(self, i):
        sample = super().sample_at(i)

        def read():
            self.reads.append(sample.view.image_key)
            return sample.view.read()

        return replace(sample, view=replace(sample.view, read=read))


class TestSeveralProtocols:
    def test_each_is_what_it_is_alone(self, tmp_path):
        manifests = generate_all({tmp_path / "xocc": XOCC, tmp_path / "clean": CLEAN}, FakeDataset(), images=True)
        for name, protocol in {"xocc": XOCC, "clean": CLEAN}.items():
            assert generate(protocol, FakeDataset(), tmp_path / "alone" / name, images=True) == manifests[tmp_path / name]
            assert files_of(tmp_path / "alone" / name) == files_of(tmp_path / name)

    def test_each_frame_is_decoded_once_for_all(self, tmp_path):
        dataset = Counted()
        generate_all({tmp_path / "xocc": XOCC, tmp_path / "clean": CLEAN}, dataset, images=True)
        assert len(dataset.reads) == len(set(dataset.reads)) == 13

    def test_progress_counts_the_people_of_all(self, tmp_path):
        told = []
        how = {"progress": lambda done, total: told.append((done, total))}
        generate_all({tmp_path / "xocc": XOCC, tmp_path / "clean": CLEAN}, FakeDataset(), **how)
        assert told[0] == (0, 32)
        assert told[-1] == (32, 32)

    def test_what_one_has_already_is_not_done_again(self, tmp_path):
        generate(XOCC, FakeDataset(), tmp_path / "xocc", images=True)
        before, dataset, told = files_of(tmp_path / "xocc"), Counted(), []
        how = {"images": True, "progress": lambda done, total: told.append((done, total))}
        generate_all({tmp_path / "xocc": XOCC, tmp_path / "clean": CLEAN}, dataset, **how)
        assert told[0] == (16, 32)
        assert files_of(tmp_path / "xocc") == before
        assert verify(tmp_path / "clean").endswith("16 plans, 13 images.")

    def test_other_people_are_refused(self, tmp_path):
        with pytest.raises(
            ProtocolError, match=r"'openhps-xocc\.v1' and '3dpw-xocc\.v1' are of different people.*'3dpw-xocc@openhps-xocc'"
        ):
            generate_all({tmp_path / "a": XOCC, tmp_path / "b": load_protocol("3dpw-xocc")}, FakeDataset())
        assert not (tmp_path / "a").exists()

    def test_a_folder_of_another_run_stops_all_before_anything_is_written(self, tmp_path):
        generate(CLEAN, FakeDataset(), tmp_path / "b")
        with pytest.raises(ResultError, match="its protocol differs"):
            generate_all({tmp_path / "a": CLEAN, tmp_path / "b": XOCC}, FakeDataset())
        assert not (tmp_path / "a").exists()


class TestCrops:
    @pytest.mark.parametrize("protocol", [XOCC, CLEAN, BAR], ids=lambda protocol: protocol.name)
    def test_they_are_what_a_model_gets(self, tmp_path, protocol):
        dataset = FakeDataset()
        generate(protocol, dataset, tmp_path, crops=Crops(SPEC))
        generated, frames = load_generated(tmp_path, dataset), dataset.frames()
        on_the_fly = FrameReader(dataset, frames, protocol, SPEC, None)
        written = FrameReader(dataset, frames, protocol, SPEC, generated)
        count = 0
        for k in range(len(frames)):
            for wanted, found in zip(on_the_fly[k], written[k], strict=True):
                assert wanted.id == found.id
                assert (wanted.crop is None) == (found.crop is None)
                if wanted.crop is not None:
                    count += 1
                    np.testing.assert_array_equal(found.crop, wanted.crop)
                    assert found.square_xyxy.tolist() == [0, 0, 48, 48]
                    _same_rays(wanted, found)
        assert count >= 16

    def test_the_manifest_says_so_and_verify_finds_a_flipped_byte(self, tmp_path):
        manifest = generate(XOCC, FakeDataset(), tmp_path, crops=Crops(SPEC))
        assert manifest["crops"] == {"side": 48, "box_scale": 1.25, "reduced": False}
        assert manifest["images"]["count"] == 16
        path = next((tmp_path / "images").rglob("*.png"))
        assert read_image(path).shape == (48, 48, 3)
        data = bytearray(path.read_bytes())
        data[60] ^= 1
        path.write_bytes(bytes(data))
        with pytest.raises(ResultError, match="was altered"):
            verify(tmp_path)

    @pytest.mark.parametrize("other", [{"images": True}, {"crops": Crops(CropSpec(64))}, {"crops": Crops(SPEC, reduced=True)}])
    def test_other_crops_are_another_run(self, tmp_path, other):
        generate(XOCC, FakeDataset(), tmp_path, crops=Crops(SPEC))
        with pytest.raises(ResultError, match=r"its crops differs.*found: .*crops of 48 px"):
            generate(XOCC, FakeDataset(), tmp_path, **other)

    def test_shards_merged(self, tmp_path):
        for k in range(2):
            generate(XOCC, FakeDataset(), tmp_path / str(k), crops=Crops(SPEC), shard=(k, 2))
        generate(XOCC, FakeDataset(), tmp_path / "whole", crops=Crops(SPEC))
        merge([tmp_path / "0", tmp_path / "1"], tmp_path / "merged")
        assert files_of(tmp_path / "merged") == files_of(tmp_path / "whole")


def _same_rays(wanted, found):
    """The corners of a crop are seen along the same rays."""
    corners = np.array([[0.0, 0.0, 1.0], [48.0, 30.0, 1.0]])
    (x0, y0, x1, _), px = wanted.square_xyxy, 48
    in_image = corners * [(x1 - x0) / px, (x1 - x0) / px, 1] + [x0, y0, 0]
    np.testing.assert_allclose(
        np.linalg.inv(found.intrinsics) @ corners.T, np.linalg.inv(wanted.intrinsics) @ in_image.T, rtol=0, atol=1e-9
    )


@dataclass
class Blocks:
    """A picture of blocks of 4 px, 240 x 160 px, which a reduction to 1/4 (or 1/2) loses nothing of."""

    asked: list

    def __call__(self, reduction=1):
        self.asked.append(reduction)
        small = np.random.default_rng(5).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        return small.repeat(4 // reduction, 0).repeat(4 // reduction, 1) if reduction <= 4 else small[::2, ::2]


class TestReduced:
    # Corners at 4 k + 1.5: each pixel of a crop at 1/4 lies within one block, and on one pixel of the image at 1/4.
    BOX = np.array([21.5, 9.5, 21.5 + 128, 9.5 + 128])
    # Black over whole blocks, [40, 100) x [20, 60).
    PLAN = OcclusionPlan(
        "a",
        "p",
        0,
        (Occlusion("joint-shape", "image", {"shape": "box", "centre": [70, 40], "size": [60, 40], "angle": 0.0, "fill": "black"}),),
    )

    def view(self, asked, reducible=True):
        return View(Blocks(asked), "k", self.BOX, np.diag([100.0, 100.0, 1.0]), reducible=reducible)

    @pytest.mark.parametrize(("side", "reduction"), [(128, 1), (100, 1), (64, 2), (33, 2), (32, 4), (17, 4), (16, 8)])
    def test_the_part_is_the_smallest_that_a_crop_need_not_be_enlarged_from(self, side, reduction):
        asked = []
        cropped_view(self.view(asked), self.PLAN, Crops(CropSpec(side, 1.0), reduced=True)).read()
        assert asked == [reduction]

    def test_equal_where_nothing_is_lost(self):
        asked = []
        crops = [cropped_view(self.view(asked), self.PLAN, Crops(CropSpec(32, 1.0), reduced)).read() for reduced in (False, True)]
        assert asked == [1, 4]
        np.testing.assert_array_equal(crops[0], crops[1])
        # Pixel (i, j) is about (21.5 + 4 i, 9.5 + 4 j): black from (4.6, 2.6) to (19.6, 12.6).
        black = (crops[1] == 0).all(-1)
        assert black[3:13, 5:20].all()
        assert black.sum() == 150

    def test_what_cannot_be_reduced_is_read_whole(self):
        asked = []
        cropped_view(self.view(asked, reducible=False), self.PLAN, Crops(CropSpec(32, 1.0), reduced=True)).read()
        assert asked == [1]

    def test_a_picture_is_left_as_it_was(self):
        picture = Blocks([])(4)
        view = replace(self.view([]), read=lambda reduction=1: picture)
        cropped_view(view, self.PLAN, Crops(CropSpec(32, 1.0), reduced=True)).read()
        np.testing.assert_array_equal(picture, Blocks([])(4))

    def test_on_real_jpegs_it_is_near_the_whole(self):
        dataset = open_dataset("openhps", None, split="test", frames="campose-valid", bbox="keypoints", bbox_scale=1.0, bodies=None)
        sample = max((dataset[i] for i in range(0, len(dataset), 9)), key=lambda s: s.view.bbox_xyxy[3] - s.view.bbox_xyxy[1])
        assert sample.view.reducible
        plan = OcclusionPlan(sample.id, "p", 0, ())
        x0, y0, x1, y1 = sample.view.bbox_xyxy
        side = int(max(x1 - x0, y1 - y0) // 4)
        crops = [cropped_view(sample.view, plan, Crops(CropSpec(side, 1.0), reduced)).read().astype(float) for reduced in (False, True)]
        smooth = crop_square(read_blurred(sample.view.read()), _square(sample.view.bbox_xyxy), side).astype(float)
        assert np.abs(crops[1] - smooth).mean() < np.abs(crops[0] - smooth).mean() < 20


def read_blurred(image):
    """Means of 4 x 4 px about each."""
    padded = np.pad(image.astype(np.float64), ((2, 2), (2, 2), (0, 0)), mode="edge")
    return np.mean([padded[i : i + image.shape[0], j : j + image.shape[1]] for i in range(4) for j in range(4)], axis=0).astype(np.uint8)


def _square(box):
    centre, half = (box[:2] + box[2:]) / 2, max(box[2:] - box[:2]) / 2
    return np.concatenate([centre - half, centre + half])


def embedded():
    return open_dataset("openhps", None, split="test", frames="campose-valid", bbox="keypoints", bbox_scale=1.0, bodies=None)


class TestEngines:
    """On the embedded people, whom the processes of any engine can import."""

    @pytest.mark.parametrize("engine", ["processes", "dask", "ray"])
    @pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
    def test_same_bytes(self, tmp_path, engine):
        pytest.importorskip({"processes": "joblib", "dask": "distributed", "ray": "ray"}[engine])
        generate(XOCC, embedded(), tmp_path / "one", images=True, shard=(0, 20))
        told = []
        how = {"engine": engine, "workers": 2, "shard": (0, 20), "progress": lambda done, total: told.append(done)}
        generate(XOCC, embedded(), tmp_path / "two", images=True, **how)
        assert files_of(tmp_path / "two") == files_of(tmp_path / "one")
        assert told == sorted(told)
        assert len(told) >= 3

    @pytest.mark.parametrize(("engine", "package"), [("dask", "distributed"), ("ray", "ray")])
    def test_an_engine_that_is_not_installed(self, tmp_path, monkeypatch, engine, package):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtraError, match=rf"The engine '{engine}' needs the package '{package}'.*hpsbench\[{engine}\]"):
            generate(XOCC, FakeDataset(), tmp_path / "out", engine=engine, workers=2)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("engine", ["dask", "ray"])
    @pytest.mark.parametrize("address", ["127.0.0.1:1", "tcp://127.0.0.1:1", "127.0.0.1:port", "127.0.0.1:99999"])
    def test_an_address_at_which_nothing_answers(self, tmp_path, engine, address):
        with pytest.raises(HpsbenchError, match=rf"No {engine} cluster answers at '{address}'.*leave --address out"):
            generate(XOCC, FakeDataset(), tmp_path / "out", engine=engine, address=address)
        assert not (tmp_path / "out").exists()

    def test_an_address_without_an_engine(self, tmp_path):
        with pytest.raises(HpsbenchError, match="the engine is 'processes'"):
            generate(XOCC, FakeDataset(), tmp_path / "out", workers=2, address="tcp://127.0.0.1:1")
        assert not (tmp_path / "out").exists()


class TestEvaluated:
    @pytest.mark.parametrize(
        ("crops", "message"),
        [
            (Crops(CropSpec(16, 1.5)), r"16 px of 1\.5 times the box\), but the model takes 16 px of 1\.25 times"),
            (Crops(CropSpec(24, 1.25)), r"crops \(24 px of 1\.25"),
            (Crops(CropSpec(16, 1.25), reduced=True), "of images decoded at reduced size"),
        ],
    )
    def test_crops_of_another_kind_are_refused(self, tmp_path, crops, message):
        generate(CLEAN, FakeDataset(), tmp_path / "set", crops=crops)
        with pytest.raises(ResultError, match=message):
            evaluate(Looking(), CLEAN, FakeDataset(), exact_bodies(), tmp_path / "out", generated=tmp_path / "set")

    def test_its_own_crops_give_the_numbers_of_an_evaluation_on_the_fly(self, tmp_path):
        generate(XOCC, FakeDataset(), tmp_path / "set", crops=Crops(CropSpec(16, 1.25)))
        results = [
            evaluate(Looking(), XOCC, FakeDataset(), exact_bodies(), tmp_path / name, generated=generated)
            for name, generated in {"fly": None, "files": tmp_path / "set"}.items()
        ]
        assert results[0].scores == results[1].scores


class Looking(Model):
    """Answers joints that follow from the bytes of its crop alone."""

    card = Card("looking", "joints out of pixels", "tests", "Apache-2.0")
    crop = CropSpec(16, 1.25)

    def __init__(self):
        super().__init__((), exact_bodies(), torch.device("cpu"))

    def predict(self, batch):
        means = batch.crops.to(torch.float64).mean((2, 3)) / 255
        rotvecs = torch.zeros(len(batch), 24, 3, dtype=torch.float64)
        rotvecs[:, 1:4] = means[:, None]
        failed = torch.zeros(len(batch), dtype=torch.bool)
        return Prediction(failed=failed, rotmats=rotvec_to_rotmat(rotvecs), betas=torch.zeros(len(batch), 10, dtype=torch.float64))


class TestNeeds:
    def test_a_ladder_of_silhouettes_needs_bodies(self, tmp_path):
        with pytest.raises(ProtocolError, match=r"matched-bar-mask.*cannot be planned"):
            generate(load_protocol("matched-bar-mask@openhps-test"), FakeDataset(), tmp_path / "out")
        assert not (tmp_path / "out").exists()
        manifest = generate(
            load_protocol("matched-bar-mask@openhps-test"), FakeDataset(), tmp_path / "out", bodies=exact_bodies(), shard=(0, 13)
        )
        assert manifest["counts"]["written"] > 0

    def test_key_points_have_no_images(self, tmp_path):
        protocol = load_protocol("key-points-gvhmr@openhps-test")
        with pytest.raises(ProtocolError, match="nothing is hidden from an image"):
            generate(protocol, FakeDataset(), tmp_path / "out", images=True)
        assert not (tmp_path / "out").exists()
        assert generate(protocol, FakeDataset(), tmp_path / "out")["counts"]["written"] > 0


class TestCommand:
    def run(self, *words):
        return CliRunner().invoke(cli, ["generate", *map(str, words)])

    def test_two_protocols_as_crops(self, tmp_path):
        words = ("--protocol", "openhps-xocc", "--protocol", "openhps-test", "--crops", 64, "--reduced", "--shard", "1/20")
        result = self.run(*words, "--out", tmp_path)
        assert result.exit_code == 0, result.output
        for name in ("openhps-xocc", "openhps-test"):
            assert f"plans and crops in {tmp_path / name}. Next: hpsbench verify {tmp_path / name}" in result.stderr
            manifest = json.loads((tmp_path / name / "manifest.json").read_text())
            assert manifest["crops"] == {"side": 64, "box_scale": 1.25, "reduced": True}
            verify(tmp_path / name)

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("--protocol", "openhps-xocc", "--protocol", "openhps-xocc"), "named twice"),
            (("--reduced",), "none are asked for"),
            (("--crops", 2), "not in the range"),
            (("--crops", 64, "--box-scale", 0), "not in the range"),
            (("--engine", "slurm"), "'slurm' is not one of"),
        ],
    )
    def test_wrong_words(self, tmp_path, words, message):
        result = self.run(*words, "--out", tmp_path / "out")
        assert result.exit_code == 2
        assert message in result.output
        assert not (tmp_path / "out").exists()
