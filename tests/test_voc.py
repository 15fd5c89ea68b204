"""A tiny VOC, and what is cut out of it, worked by hand."""

import numpy as np
import pytest
from PIL import Image

from hpsbench.errors import DataError
from hpsbench.image import read_image
from hpsbench.occluders.bank import load_bank
from hpsbench.occluders.voc import Extraction, cut_out, extract_voc

WIDTH, HEIGHT = 80, 60
NAMES = ("2007_000001-01-dog", "2007_000001-06-sofa", "2008_000002-01-pottedplant")


def thing(name: str, box: tuple, **flags: int) -> str:
    sides = "".join(f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    marks = "".join(f"<{flag}>{value}</{flag}>" for flag, value in {"truncated": 0, "difficult": 0, **flags}.items())
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    return f"<object><name>{name}</name><pose>Left</pose>{marks}{part}<bndbox>{sides}</bndbox></object>"


def write_picture(root, stem: str, things: list[str], instances: np.ndarray | None) -> None:
    """One picture of a VOC; without instances it is not segmented."""
    for folder in ("Annotations", "JPEGImages", "SegmentationObject"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    segmented = int(instances is not None)
    text = f"<annotation><filename>{stem}.jpg</filename><segmented>{segmented}</segmented>{''.join(things)}</annotation>"
    (root / "Annotations" / f"{stem}.xml").write_text(text)
    pixels = np.random.default_rng(len(things)).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(root / "JPEGImages" / f"{stem}.jpg")
    if instances is not None:
        picture = Image.fromarray(instances, "P")
        picture.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
        picture.save(root / "SegmentationObject" / f"{stem}.png")


@pytest.fixture
def voc(tmp_path):
    """Three pictures. The first holds eight objects of which two are kept; the second one object; the third is not segmented."""
    root = tmp_path / "VOC2012"
    instances = np.zeros((HEIGHT, WIDTH), np.uint8)
    instances[10:40, 10:40] = 1
    instances[0:30, 50:80] = 2
    instances[40:60, 0:26] = 6
    instances[40:60, 26] = 255
    instances[40:60, 30:56] = 7
    instances[40, 31] = 255
    write_picture(
        root,
        "2007_000001",
        [
            thing("dog", (10, 8, 50, 48)),
            thing("person", (50, 1, 80, 30), truncated=1),
            thing("car", (10, 8, 50, 48), difficult=1),
            thing("bus", (10, 8, 50, 48), truncated=1),
            thing("boat", (10, 8, 50, 48), difficult=1, truncated=1),
            thing("sofa", (1, 40, 80, 60)),
            thing("cat", (31, 40, 56, 60)),
            thing("bird", (10, 8, 50, 48)),
        ],
        instances,
    )
    whole = np.full((HEIGHT, WIDTH), 1, np.uint8)
    write_picture(root, "2008_000002", [thing("pottedplant", (1, 1, 80, 60))], whole)
    write_picture(root, "2008_000003", [thing("dog", (1, 1, 80, 60))], None)
    return root


class TestByHand:
    def test_which_are_kept_and_why_not(self, voc, tmp_path):
        # sofa: columns 1 to 25 of its 26 (the slice begins one late) in 20 rows are 500 px, just enough.
        # cat: 25 columns by 20 rows less one pixel of void are 499 px; bird: no pixel has its number.
        extraction = extract_voc(voc, tmp_path / "out")
        assert extraction == Extraction(3, {"person": 1, "difficult": 2, "truncated": 1, "small": 2})
        assert load_bank(tmp_path / "out").names == NAMES

    def test_alpha_at_half_size(self, voc, tmp_path):
        # The slice holds rows 8 to 47 and columns 10 to 49; in it the dog fills rows 2 to 31 and columns 0 to 29. The ellipse reaches
        # 4 px up and left, 3 px down and right: rows 6 to 28 and columns 0 to 26 stay whole, as the left edge is that of the box.
        extract_voc(voc, tmp_path / "out")
        dog = load_bank(tmp_path / "out").read(NAMES[0])
        expected = np.zeros((20, 20), np.uint8)
        expected[1:16, 0:15] = 192
        expected[3:14, 0:13] = 255
        expected[14, 0:13] = expected[3:14, 13] = 224  # (255 + 192) / 2, rounded up
        expected[14, 13] = 208  # (255 + 3 * 192) / 4, rounded
        np.testing.assert_array_equal(dog[..., 3], expected)

    def test_colour_is_the_mean_of_four_pixels_whatever_their_alpha(self, voc, tmp_path):
        extract_voc(voc, tmp_path / "out")
        dog = load_bank(tmp_path / "out").read(NAMES[0])
        slice_ = read_image(voc / "JPEGImages" / "2007_000001.jpg")[8:48, 10:50].astype(float)
        mean = slice_.reshape(20, 2, 20, 2, 3).mean(axis=(1, 3))
        assert np.abs(dog[..., :3] - mean).max() <= 0.5

    def test_odd_sides_are_rounded_to_the_even_half(self):
        image, instances = np.zeros((60, 80, 3), np.uint8), np.ones((60, 80), np.uint8)
        assert cut_out(image, instances, 1, (0, 0, 25, 27)).shape == (14, 12, 4)
        assert cut_out(image, instances, 1, (0, 0, 27, 25)).shape == (12, 14, 4)

    def test_a_line_of_one_pixel_stays(self):
        image, instances = np.zeros((4, 600, 3), np.uint8), np.ones((4, 600), np.uint8)
        assert cut_out(image, instances, 1, (0, 0, 600, 1)).shape == (1, 300, 4)

    def test_the_catalogue_says_where_from_and_under_which_terms(self, voc, tmp_path):
        extract_voc(voc, tmp_path / "out")
        first = (tmp_path / "out" / "catalogue.csv").read_text().splitlines()[1]
        assert first.startswith('2007_000001-01-dog,dog,20,20,"Pascal VOC picture 2007_000001, object 1",not free: ')

    def test_the_same_voc_gives_the_same_bank(self, voc, tmp_path):
        for place in ("one", "two"):
            extract_voc(voc, tmp_path / place)
        assert load_bank(tmp_path / "one").sha256 == load_bank(tmp_path / "two").sha256

    def test_the_devkit_folder_will_do(self, voc, tmp_path):
        (tmp_path / "VOCdevkit").mkdir()
        voc.rename(tmp_path / "VOCdevkit" / "VOC2012")
        assert extract_voc(tmp_path, tmp_path / "out").kept == 3

    def test_progress_counts_annotations(self, voc, tmp_path):
        told = []
        extract_voc(voc, tmp_path / "out", lambda done, total: told.append((done, total)))
        assert told == [(1, 3), (2, 3), (3, 3)]

    def test_the_published_count_is_no_warning(self):
        assert Extraction(2638, {}).warning is None


class TestBadFolders:
    def refused(self, voc, out, message):
        with pytest.raises(DataError, match=message):
            extract_voc(voc, out)
        assert not out.exists()
        assert not list(out.parent.glob(".*.part"))

    @pytest.mark.parametrize("part", ["SegmentationObject", "Annotations", "JPEGImages"])
    def test_a_part_is_missing(self, voc, tmp_path, part):
        (voc / part).rename(tmp_path / "away")
        self.refused(voc, tmp_path / "out", rf"No {part} in .*VOC2012\. Expected the folders Annotations, JPEGImages, SegmentationObject")

    def test_no_voc_at_all(self, tmp_path):
        self.refused(tmp_path / "none", tmp_path / "out", r"No VOC in .*none: none of the folders .*Name the folder VOC2012")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("<annotation><segm", "unclosed token"),
            ("<annotation></annotation>", "invalid literal for int"),
            ("<annotation><segmented>1</segmented><object><name>dog</name></object></annotation>", "could not convert string to float"),
            ("<annotation><segmented>1</segmented><object></object></annotation>", "object 1 has the name ''"),
        ],
    )
    def test_a_broken_annotation(self, voc, tmp_path, text, message):
        (voc / "Annotations" / "2008_000002.xml").write_text(text)
        self.refused(voc, tmp_path / "out", rf"Annotation .*2008_000002\.xml is broken: {message}")

    def test_a_mask_of_another_size(self, voc, tmp_path):
        Image.fromarray(np.ones((30, 40), np.uint8), "L").save(voc / "SegmentationObject" / "2008_000002.png")
        self.refused(voc, tmp_path / "out", r"2008_000002\.png is 40x30 px, but its picture 80x60")

    def test_a_mask_in_colours(self, voc, tmp_path):
        Image.fromarray(np.ones((HEIGHT, WIDTH, 3), np.uint8)).save(voc / "SegmentationObject" / "2008_000002.png")
        self.refused(voc, tmp_path / "out", r"2008_000002\.png is a picture of mode RGB, but one number a pixel")

    def test_a_broken_mask(self, voc, tmp_path):
        (voc / "SegmentationObject" / "2008_000002.png").write_bytes(b"no picture")
        self.refused(voc, tmp_path / "out", r"Segmentation .*2008_000002\.png is broken")

    def test_a_cut_mask(self, voc, tmp_path):
        path = voc / "SegmentationObject" / "2007_000001.png"
        path.write_bytes(path.read_bytes()[:-30])
        self.refused(voc, tmp_path / "out", r"Segmentation .*2007_000001\.png is broken")

    def test_a_missing_mask(self, voc, tmp_path):
        (voc / "SegmentationObject" / "2008_000002.png").unlink()
        self.refused(voc, tmp_path / "out", r"2008_000002\.png is missing, but the annotation says")

    def test_a_missing_picture(self, voc, tmp_path):
        (voc / "JPEGImages" / "2008_000002.jpg").unlink()
        self.refused(voc, tmp_path / "out", r"2008_000002\.jpg cannot be read")

    @pytest.mark.parametrize("box", [(1, 1, 81, 60), (-1, 1, 80, 60), (30, 1, 30, 60)])
    def test_a_box_that_is_none(self, voc, tmp_path, box):
        write_picture(voc, "2008_000002", [thing("dog", box)], np.ones((HEIGHT, WIDTH), np.uint8))
        self.refused(voc, tmp_path / "out", r"2008_000002\.xml has the box \(.*\), which is none in a picture of 80x60 px")

    def test_nothing_is_segmented(self, voc, tmp_path):
        for stem in ("2007_000001", "2008_000002"):
            write_picture(voc, stem, [], None)
        self.refused(voc, tmp_path / "out", r"No object to cut out among the 3 annotation files")


class TestCommand:
    def test_extract_then_list(self, run, voc, tmp_path):
        status, out, err = run("occluders", "extract", "--voc", voc, "--out", "bank")
        assert status == 0
        assert out == "bank: 3 objects; left out: 2 difficult, 1 person, 2 small, 1 truncated.\n"
        assert "Warning: 3 objects found, but VOC2012's trainval pictures give 2638" in err
        status, out, err = run("occluders", "list", "bank")
        assert status == 0
        assert [line.split()[:2] for line in out.splitlines()] == [[NAMES[0], "20x20"], [NAMES[1], "40x10"], [NAMES[2], "40x30"]]
        assert f"3 objects in bank, sha256 {load_bank(tmp_path / 'bank').sha256}" in err

    def test_a_mistake_ends_with_status_1_and_one_line(self, run, tmp_path):
        status, out, err = run("occluders", "extract", "--voc", "nowhere", "--out", "bank")
        assert (status, out) == (1, "")
        assert err.startswith("hpsbench: No VOC in nowhere")
        assert not (tmp_path / "bank").exists()
