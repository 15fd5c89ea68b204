import cv2
import numpy as np
import pytest
from PIL import Image

from hpsbench.errors import DataError
from hpsbench.image import crop_square, cut, encode_jpeg, encode_png, image_size, read_image, square_of_box


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
