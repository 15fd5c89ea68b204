import cv2
import numpy as np
import pytest
from PIL import Image

from hpsbench.errors import DataError
from hpsbench.image import crop_square, cut, encode_jpeg, encode_png, image_size, read_image, read_sized, reduced_size, square_of_box


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def test_png_comes_back_to_the_byte_in_rgb(tmp_path, picture):
    (tmp_path / "a.png").write_bytes(encode_png(picture))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)
    assert image_size(tmp_path / "a.png") == (60, 40)


def test_exif_orientation_is_applied(tmp_path):
    picture = Image.fromarray(np.full((40, 60, 3), (250, 10, 10), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").shape == (60, 40, 3)
    assert image_size(tmp_path / "turned.jpg") == (40, 60)
    assert read_image(tmp_path / "turned.jpg")[0, 0, 0] > 200


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.jpg cannot be read: No such file"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(DataError, match=r"none\.jpg is missing"):
        image_size(tmp_path / "none.jpg")


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_a_truncated_jpeg_is_an_error_and_not_a_grey_picture(tmp_path, picture, keep):
    data = encode_jpeg(cv2.resize(picture, (600, 400)))
    (tmp_path / "cut.jpg").write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(DataError, match=r"cut\.jpg is broken"):
        read_image(tmp_path / "cut.jpg")


def test_a_text_file_is_no_image(tmp_path):
    (tmp_path / "a.jpg").write_text("hello")
    with pytest.raises(DataError, match="broken"):
        read_image(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="broken"):
        image_size(tmp_path / "a.jpg")


def test_square_of_box_by_hand():
    assert square_of_box(np.array([10, 20, 30, 60]), 1.25).tolist() == [-5, 15, 45, 65]


def test_crop_of_a_square_at_its_own_size_is_the_pixels(picture):
    np.testing.assert_array_equal(crop_square(picture, np.array([10, 5, 30, 25]), 20), picture[5:25, 10:30])


def test_crop_beyond_the_image_is_zero(picture):
    crop = crop_square(picture, np.array([-20, 0, 20, 40]), 40)
    assert not crop[:, :20].any()
    np.testing.assert_array_equal(crop[:, 20:], picture[:, :20])


def test_crop_maps_points_as_it_says():
    image = np.zeros((100, 100, 3), np.uint8)
    image[40, 60] = 255
    crop = crop_square(image, np.array([50, 30, 70, 50]), 80)
    assert crop[40, 40, 0] == 255
    assert crop[44, 44, 0] == 0


@pytest.mark.parametrize("box", [(-3, -2, 10, 7), (50, 30, 70, 50), (5, 5, 9, 6)])
def test_cut_equals_cutting_the_padded_image(picture, box):
    padded = np.pad(picture, ((50, 50), (50, 50), (0, 0)))
    x0, y0, x1, y1 = box
    np.testing.assert_array_equal(cut(picture, box), padded[y0 + 50 : y1 + 50, x0 + 50 : x1 + 50])


def test_cut_outside_is_black(picture):
    assert not cut(picture, (100, 100, 110, 105)).any()


class TestReduced:
    @pytest.mark.parametrize(("reduction", "size"), [(1, (61, 43)), (2, (31, 22)), (4, (16, 11)), (8, (8, 6))])
    def test_sizes_are_rounded_up_whatever_the_format(self, tmp_path, reduction, size):
        picture = np.random.default_rng(0).integers(0, 256, (43, 61, 3), dtype=np.uint8)
        (tmp_path / "a.jpg").write_bytes(encode_jpeg(picture))
        (tmp_path / "a.png").write_bytes(encode_png(picture))
        assert reduced_size((61, 43), reduction) == size
        for name in ("a.jpg", "a.png"):
            assert read_image(tmp_path / name, reduction).shape == (size[1], size[0], 3)
            assert read_sized(tmp_path / name, (61, 43), "", reduction).shape == (size[1], size[0], 3)

    def test_of_a_png_they_are_means(self, tmp_path):
        picture = np.zeros((2, 3, 3), np.uint8)
        picture[:, :, 0] = [[10, 20, 60], [30, 40, 80]]
        (tmp_path / "a.png").write_bytes(encode_png(picture))
        # (10 + 20 + 30 + 40) / 4 and, with the last column twice, (60 + 80) / 2.
        assert read_image(tmp_path / "a.png", 2)[:, :, 0].tolist() == [[25, 70]]

    def test_of_a_jpeg_they_are_near_the_means(self, tmp_path):
        smooth = cv2.resize(np.random.default_rng(1).integers(60, 200, (6, 8, 3), dtype=np.uint8), (128, 96), interpolation=cv2.INTER_CUBIC)
        (tmp_path / "a.jpg").write_bytes(encode_jpeg(smooth, 98))
        means = read_image(tmp_path / "a.jpg").reshape(24, 4, 32, 4, 3).mean((1, 3))
        assert np.abs(read_image(tmp_path / "a.jpg", 4) - means).mean() < 2

    def test_a_truncated_jpeg_is_an_error_too(self, tmp_path, picture):
        (tmp_path / "cut.jpg").write_bytes(encode_jpeg(picture)[:-200])
        with pytest.raises(DataError, match=r"cut\.jpg is broken"):
            read_image(tmp_path / "cut.jpg", 4)

    @pytest.mark.parametrize("reduction", [1, 2])
    def test_an_image_of_another_size_is_refused(self, tmp_path, picture, reduction):
        (tmp_path / "a.png").write_bytes(encode_png(picture))
        with pytest.raises(DataError, match=r"a\.png is 60 x 40 px, expected 64 x 40 as told\. Unpack it\."):
            read_sized(tmp_path / "a.png", (64, 40), " as told. Unpack it.", reduction)
