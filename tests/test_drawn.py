"""The bank that ships with the package: its catalogue, its pictures, and that the drawing gives them again."""

import csv

import cv2
import numpy as np
import pytest

from hpsbench.errors import HpsbenchError
from hpsbench.occluders.bank import load_bank, load_textures, packaged_folder
from hpsbench.occluders.drawn.chance import Chance
from hpsbench.occluders.drawn.make import TEXTURES, draw_object, draw_texture, object_names
from hpsbench.occluders.drawn.paints import noise, plain
from hpsbench.occluders.drawn.picture import picture_of
from hpsbench.occluders.drawn.solids import blob, box, curve, moved, turned
from hpsbench.store import sha256_of_file

RED = (1.0, 0.0, 0.0)
DRAWN_AGAIN = [("cup", 1), ("duck", 1), ("stool", 2), ("umbrella", 1)]


@pytest.fixture(scope="module")
def catalogue():
    with open(packaged_folder() / "catalogue.csv", newline="") as stream:
        return {row["name"]: row for row in csv.DictReader(stream)}


class TestPackaged:
    def test_the_catalogue_holds_every_file_and_its_hash(self, catalogue):
        files = {path.relative_to(packaged_folder()).with_suffix("").as_posix(): path for path in packaged_folder().glob("*/*.png")}
        assert set(catalogue) == set(files)
        for name, path in files.items():
            assert catalogue[name]["sha256"] == sha256_of_file(path), name
            assert catalogue[name]["licence"] == "CC0-1.0"

    def test_the_bank_is_what_the_code_names(self):
        assert load_bank("hpsbench").names == tuple(sorted(f"{thing}-{variant}" for thing, variant in object_names()))
        assert load_textures("hpsbench").names == tuple(sorted(TEXTURES))
        assert len(object_names()) >= 80

    def test_objects_are_opaque_inside_with_soft_edges(self, catalogue):
        # Gaps narrower than a pixel, between slats or spokes, are soft too: hence a share of all objects together.
        bank, inside = load_bank("hpsbench"), []
        for name in bank.names:
            pixels, row = bank.read(name), catalogue[f"bank/{name}"]
            height, width = pixels.shape[:2]
            assert (int(row["width"]), int(row["height"])) == (width, height), name
            assert 100 <= max(height, width) <= 260, name
            alpha = pixels[..., 3]
            assert all(edge.any() for edge in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1])), f"{name} has empty rows about it"
            assert ((alpha > 0) & (alpha < 255)).any(), name
            deep = cv2.erode(np.pad(alpha, 4), np.ones((7, 7), np.uint8))[4:-4, 4:-4] > 0
            inside.append(alpha[deep])
        assert (np.concatenate(inside) == 255).mean() > 0.99

    def test_what_is_transparent_has_the_mean_colour(self):
        pixels = load_bank("hpsbench").read("duck-1").astype(float)
        alpha, clear = pixels[..., 3:] / 255, pixels[..., 3] == 0
        mean = (pixels[..., :3] * alpha).sum(axis=(0, 1)) / alpha.sum()
        assert np.abs(pixels[clear][:, :3] - mean).max() <= 0.5  # rounded to whole levels

    def test_textures_are_opaque_squares(self):
        textures = load_textures("hpsbench")
        assert {textures.read(name).shape for name in textures.names} == {(256, 256, 3)}

    def test_the_download_stays_small(self):
        for folder, most in (("bank", 2.5e6), ("textures", 1e6)):
            assert sum(path.stat().st_size for path in (packaged_folder() / folder).iterdir()) <= most


class TestDrawnAgain:
    """The drawing is float64: other builds of numpy and OpenCV may round a level, or a pixel of an edge, the other way."""

    @pytest.mark.parametrize(("thing", "variant"), DRAWN_AGAIN)
    def test_objects(self, thing, variant):
        drawn, kept = draw_object(thing, variant), load_bank("hpsbench").read(f"{thing}-{variant}")
        assert drawn.shape == kept.shape
        assert (np.abs(drawn.astype(int) - kept).max(axis=2) > 2).mean() < 0.002

    @pytest.mark.parametrize("name", ["bricks", "sky"])
    def test_textures(self, name):
        drawn, kept = draw_texture(name), load_textures("hpsbench").read(name)
        assert (np.abs(drawn.astype(int) - kept).max(axis=2) > 2).mean() < 0.002

    def test_another_seed_gives_another_thing(self):
        assert draw_texture("knit", 1).tobytes() != draw_texture("knit", 0).tobytes()

    def test_a_draw_depends_on_thing_variant_and_seed_alone(self):
        first, second, *others = (
            Chance(*words).between(0, 1) for words in (("a", 1, 0), ("a", 1, 0), ("a", 2, 0), ("b", 1, 0), ("a", 1, 1))
        )
        assert first == second
        assert len({first, *others}) == 4


class TestPictures:
    def test_a_box_from_the_front_is_a_full_rectangle(self):
        pixels = picture_of(box((2, 1, 0.01), (0, 0, 0), plain(RED, 0.0, worn=0.0)), 102)
        # 100 px wide; 50 px high; a pixel of blur all round at most.
        assert abs(pixels.shape[1] - 100) <= 2
        assert abs(pixels.shape[0] - 50) <= 2
        inside = pixels[4:-4, 4:-4]
        assert (inside[..., 3] == 255).all()
        assert (inside[..., 0] > 60).all()
        assert (inside[..., 1:3] == 0).all()

    def test_the_light_comes_from_the_upper_left(self):
        pixels = picture_of(blob((1, 1, 1), (0, 0, 0), plain(RED, 0.0, worn=0.0)), 82).astype(int)
        assert pixels[20, 20, 0] > pixels[60, 60, 0] + 30

    def test_what_is_nearer_hides_what_is_farther(self):
        red, blue = plain(RED, 0.0, worn=0.0), plain((0.0, 0.0, 1.0), 0.0, worn=0.0)
        far, near = box((2, 2, 0.01), (0, 0, -1), red), box((0.5, 0.5, 0.01), (0, 0, 1), blue)
        middle = picture_of(near + far, 80)[38:42, 38:42]
        assert (middle[..., 0] == 0).all()
        assert (middle[..., 2] > 60).all()

    def test_turned_about_the_vertical(self):
        (surface,) = turned([(1, 0), (1, 2)], (5, 0, 0), plain(RED), curved=False)
        np.testing.assert_allclose(np.hypot(surface.points[..., 0] - 5, surface.points[..., 2]), 1, atol=1e-12)

    def test_a_curve_holds_its_ends_and_does_not_overshoot(self):
        line = curve([(0, 0), (1, 1), (2, 1), (3, 0)], 50)
        np.testing.assert_allclose(line[[0, -1]], [(0, 0), (3, 0)], atol=1e-12)
        assert line[:, 1].max() <= 1 + 1e-12

    def test_moved_turns_then_shifts(self):
        (surface,) = moved(blob((1, 0, 0), (0, 0, 0), plain(RED)), (0, 0, 7), turn=(0, 0, 90), size=2)
        # The x axis, twice as long, now stands on y.
        np.testing.assert_allclose(np.ptp(surface.points.reshape(-1, 3), axis=0), [0, 4, 0], atol=0.02)
        np.testing.assert_allclose(surface.points[..., 2], 7, atol=1e-12)

    def test_noise_is_the_lattice_at_whole_places_and_stays_within_it(self):
        places = np.random.default_rng(0).integers(-40, 40, (50, 3)).astype(float)
        np.testing.assert_array_equal(noise(places, 3), noise(places + 32, 3))
        values = noise(np.random.default_rng(1).random((500, 3)) * 9, 3)
        assert values.min() >= 0
        assert values.max() <= 1


class TestCommand:
    def test_list_names_the_packaged_objects(self, run):
        status, out, err = run("occluders", "list")
        assert status == 0
        assert len(out.splitlines()) == len(object_names())
        assert f"sha256 {load_bank('hpsbench').sha256}" in err

    def test_draw_writes_both_folders_and_the_catalogue(self, run, monkeypatch, tmp_path):
        from hpsbench.occluders.drawn import make

        monkeypatch.setattr(make, "object_names", lambda: [("pole", 1)])
        monkeypatch.setattr(make, "TEXTURES", {"dots": TEXTURES["dots"]})
        status, out, _ = run("occluders", "draw", "--out", "ours")
        assert (status, out) == (0, "ours: 2 images of seed 0\n")
        assert load_bank(tmp_path / "ours" / "bank").names == ("pole-1",)
        assert load_textures(tmp_path / "ours" / "textures").names == ("dots",)
        assert len((tmp_path / "ours" / "catalogue.csv").read_text().splitlines()) == 3

    def test_a_folder_that_is_there_is_not_drawn_over(self, tmp_path):
        from hpsbench.occluders.drawn.make import draw_bank

        (tmp_path / "mine.txt").write_text("mine")
        with pytest.raises(HpsbenchError, match="is there already"):
            draw_bank(tmp_path)
