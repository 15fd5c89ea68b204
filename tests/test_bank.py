import pickle

import cv2
import numpy as np
import pytest

from hpsbench.errors import DataError, HpsbenchError
from hpsbench.image import encode_jpeg, encode_png
from hpsbench.occluders.bank import Bank, Picture, _Recent, load_bank, load_textures, write_bank
from hpsbench.store import sha256_of_bytes, sha256_of_file


def rgba(seed: int, height: int = 6, width: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 256, (height, width, 4), dtype=np.uint8)


def picture(name: str, pixels: np.ndarray) -> Picture:
    return Picture(name, "thing", pixels, "this test", "CC0")


def write_png(path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    code = {4: cv2.COLOR_RGBA2BGRA, 3: cv2.COLOR_RGB2BGR}.get(pixels.shape[2] if pixels.ndim == 3 else 1)
    path.write_bytes(cv2.imencode(".png", pixels if code is None else cv2.cvtColor(pixels, code))[1].tobytes())


class TestReading:
    def test_names_are_sorted_paths_without_suffix_and_pixels_come_back_to_the_byte(self, tmp_path):
        images = {"b": rgba(0), "a/z": rgba(1), "a/C": rgba(2, 3, 4)}
        for name, pixels in images.items():
            write_png(tmp_path / f"{name}.png", pixels)
        (tmp_path / "notes.txt").write_text("ours")
        (tmp_path / "._b.png").write_bytes(b"what a file manager leaves")
        bank = load_bank(tmp_path)
        assert bank.names == ("a/C", "a/z", "b")
        for name, pixels in images.items():
            np.testing.assert_array_equal(bank.read(name), pixels)

    def test_the_hash_is_of_names_and_files_wherever_they_lie(self, tmp_path):
        for place in ("one", "two/deep"):
            write_png(tmp_path / place / "a.png", rgba(0))
            write_png(tmp_path / place / "b.png", rgba(1))
        write_png(tmp_path / "renamed" / "a.png", rgba(0))
        write_png(tmp_path / "renamed" / "c.png", rgba(1))
        one, two, renamed = (load_bank(tmp_path / place) for place in ("one", "two/deep", "renamed"))
        a, b = (sha256_of_file(tmp_path / "one" / f"{name}.png") for name in "ab")
        assert one.sha256 == two.sha256 == sha256_of_bytes(f"a {a}\nb {b}\n".encode())
        assert renamed.sha256 != one.sha256

    def test_what_is_read_cannot_be_written_to(self, tmp_path):
        write_png(tmp_path / "a.png", rgba(0))
        with pytest.raises(ValueError, match="read-only"):
            load_bank(tmp_path).read("a")[0] = 0

    def test_a_bank_goes_to_a_worker_process(self, tmp_path):
        write_png(tmp_path / "a.png", rgba(0))
        bank: Bank = pickle.loads(pickle.dumps(load_bank(tmp_path)))
        assert bank.sha256 == load_bank(tmp_path).sha256
        np.testing.assert_array_equal(bank.read("a"), rgba(0))

    def test_grey_with_alpha_is_an_object(self, tmp_path):
        from PIL import Image

        Image.fromarray(rgba(0)[..., :2], "LA").save(tmp_path / "a.png")
        grey, alpha = rgba(0)[..., 0], rgba(0)[..., 1]
        np.testing.assert_array_equal(load_bank(tmp_path).read("a"), np.stack([grey, grey, grey, alpha], axis=-1))

    def test_textures_are_rgb_of_png_and_jpeg(self, tmp_path):
        plain = rgba(0)[..., :3].copy()
        (tmp_path / "woven").mkdir()
        (tmp_path / "woven" / "a.png").write_bytes(encode_png(plain))
        (tmp_path / "woven" / "b.jpg").write_bytes(encode_jpeg(plain))
        textures = load_textures(tmp_path)
        assert textures.names == ("woven/a", "woven/b")
        np.testing.assert_array_equal(textures.read("woven/a"), plain)
        assert textures.read("woven/b").shape == plain.shape


class TestRecent:
    def test_the_least_recently_used_goes_first(self):
        made = []

        def get(key):
            return recent.get((key, ""), lambda: made.append(key) or np.zeros(10, np.uint8))

        recent = _Recent(most_bytes=25)
        for key in "abacab":
            get(key)
        # a and b are made; a is held; c pushes b out; a is held; b is made again and pushes c out.
        assert made == ["a", "b", "c", "b"]

    def test_what_is_larger_than_the_bound_is_given_and_not_held(self):
        recent = _Recent(most_bytes=5)
        assert recent.get(("a", ""), lambda: np.zeros(10, np.uint8)).shape == (10,)
        assert recent.get(("a", ""), lambda: np.zeros(11, np.uint8)).shape == (11,)


class TestBadFolders:
    def refused(self, folder, message):
        with pytest.raises(DataError, match=message):
            load_bank(folder)

    def test_no_folder(self, tmp_path):
        self.refused(tmp_path / "none", r"No folder .*none\. Name a folder of objects, or 'hpsbench'")

    def test_no_images(self, tmp_path):
        (tmp_path / "readme.md").write_text("nothing here")
        self.refused(tmp_path, r"No images in .*Expected \.png files")

    def test_no_alpha(self, tmp_path):
        write_png(tmp_path / "a.png", rgba(0))
        write_png(tmp_path / "b.png", rgba(0)[..., :3].copy())
        self.refused(tmp_path, r"b\.png has no alpha channel\. Expected an RGBA PNG")

    def test_grey_without_alpha(self, tmp_path):
        write_png(tmp_path / "a.png", rgba(0)[..., 0].copy())
        self.refused(tmp_path, r"a\.png has no alpha channel")

    def test_sixteen_bits(self, tmp_path):
        write_png(tmp_path / "a.png", rgba(0).astype(np.uint16) * 257)
        self.refused(tmp_path, r"a\.png has 16 bits a channel, but 8 were expected")

    def test_transparent_everywhere(self, tmp_path):
        pixels = rgba(0)
        pixels[..., 3] = 0
        write_png(tmp_path / "a.png", pixels)
        self.refused(tmp_path, r"a\.png is transparent everywhere: nothing to paste")

    @pytest.mark.parametrize("keep", [0, 40, -20])
    def test_broken(self, tmp_path, keep):
        write_png(tmp_path / "a.png", rgba(0))
        data = (tmp_path / "a.png").read_bytes()
        (tmp_path / "a.png").write_bytes(data[:keep])
        self.refused(tmp_path, r"a\.png is broken: \d+ bytes that do not decode")

    def test_a_jpeg_among_objects(self, tmp_path):
        write_png(tmp_path / "a.png", rgba(0))
        (tmp_path / "b.jpg").write_bytes(encode_jpeg(rgba(0)[..., :3].copy()))
        self.refused(tmp_path, r"b\.jpg found in a folder of objects \(and 0 more\)\. Save it as \.png")

    def test_a_texture_with_holes(self, tmp_path):
        opaque, holed = rgba(0), rgba(0)
        opaque[..., 3], holed[0, 0, 3] = 255, 254
        write_png(tmp_path / "opaque.png", opaque)
        write_png(tmp_path / "holed.png", holed)
        textures = load_textures(tmp_path)
        np.testing.assert_array_equal(textures.read("opaque"), opaque[..., :3])
        with pytest.raises(DataError, match=r"holed\.png has transparent pixels, but a texture is opaque"):
            textures.read("holed")

    def test_two_images_of_one_name(self, tmp_path):
        (tmp_path / "a.png").write_bytes(encode_png(rgba(0)[..., :3].copy()))
        (tmp_path / "a.jpg").write_bytes(encode_jpeg(rgba(0)[..., :3].copy()))
        with pytest.raises(DataError, match=r"a\.jpg and .*a\.png are two images of one name, 'a'"):
            load_textures(tmp_path)

    def test_a_name_that_is_not_there(self, tmp_path):
        write_png(tmp_path / "bottle-1.png", rgba(0))
        with pytest.raises(DataError, match=r"No object named 'botle-1' among the 1 of .*Did you mean 'bottle-1'\?"):
            load_bank(tmp_path).read("botle-1")

    def test_a_file_that_changed_since(self, tmp_path):
        (tmp_path / "a.png").write_bytes(encode_png(np.full((3, 5, 3), 7, np.uint8)))
        textures = load_textures(tmp_path)
        (tmp_path / "a.png").write_bytes(encode_png(np.full((4, 5, 3), 7, np.uint8)))
        with pytest.raises(DataError, match=r"a\.png has changed since this run began"):
            textures.read("a")


class TestWriting:
    def test_a_written_bank_is_read_back(self, tmp_path):
        count = write_bank(tmp_path / "out", [picture("b", rgba(0)), picture("sub/a", rgba(1, 4, 7))])
        bank = load_bank(tmp_path / "out")
        assert count == 2
        assert bank.names == ("b", "sub/a")
        np.testing.assert_array_equal(bank.read("sub/a"), rgba(1, 4, 7))
        head, first, second = (tmp_path / "out" / "catalogue.csv").read_text().splitlines()
        assert head == "name,class,width,height,source,licence,sha256"
        assert first == f"b,thing,9,6,this test,CC0,{sha256_of_file(tmp_path / 'out' / 'b.png')}"
        assert second == f"sub/a,thing,7,4,this test,CC0,{sha256_of_file(tmp_path / 'out' / 'sub' / 'a.png')}"

    def test_the_same_pictures_give_the_same_bytes(self, tmp_path):
        for place in ("one", "two"):
            write_bank(tmp_path / place, [picture("a", rgba(0))])
        assert (tmp_path / "one" / "a.png").read_bytes() == (tmp_path / "two" / "a.png").read_bytes()

    def test_what_fails_half_way_leaves_nothing(self, tmp_path):
        def pictures():
            yield picture("a", rgba(0))
            raise DataError("the second is broken")

        with pytest.raises(DataError, match="the second is broken"):
            write_bank(tmp_path / "out", pictures())
        assert list(tmp_path.iterdir()) == []

    def test_a_full_folder_is_left_alone(self, tmp_path):
        (tmp_path / "mine.txt").write_text("mine")
        with pytest.raises(HpsbenchError, match=r"is there already and is no empty folder\. Name a new folder"):
            write_bank(tmp_path, [picture("a", rgba(0))])
        assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]

    def test_an_empty_folder_is_taken(self, tmp_path):
        (tmp_path / "out").mkdir()
        write_bank(tmp_path / "out", [picture("a", rgba(0))])
        assert load_bank(tmp_path / "out").names == ("a",)

    def test_a_place_that_cannot_be_written_to(self, tmp_path):
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(HpsbenchError, match=r"Could not write .*out: Not a directory"):
            write_bank(tmp_path / "file" / "out", [picture("a", rgba(0))])
