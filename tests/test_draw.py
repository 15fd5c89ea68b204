import numpy as np

from hpsbench.draw import crop_intrinsics, label, paint_bones, paint_box, paint_dots, paint_mesh, sheet

INTRINSICS = np.array([[100.0, 0, 32], [0, 100.0, 32], [0, 0, 1]])
SQUARE = np.array([[-0.5, -0.5, 5], [0.5, -0.5, 5], [0.5, 0.5, 5], [-0.5, 0.5, 5]])
TOWARDS = np.array([[0, 2, 1], [0, 3, 2]])


def test_a_square_is_painted_where_it_projects():
    black = np.zeros((64, 64, 3), np.uint8)
    painted = paint_mesh(black, SQUARE, TOWARDS, INTRINSICS, colour=(200, 100, 50), opacity=1.0)
    assert painted[23:41, 23:41].all()  # 100 * 0.5 / 5 = 10 px to each side of the centre 32
    assert not painted[:20].any()
    assert not painted[:, 45:].any()
    assert not black.any()


def test_the_near_triangle_hides_the_far_one():
    vertices = np.concatenate([SQUARE, SQUARE * 0.5])
    near_last = paint_mesh(np.zeros((64, 64, 3), np.uint8), vertices, np.concatenate([TOWARDS, TOWARDS + 4]), INTRINSICS, colour=(9, 9, 9))
    near_first = paint_mesh(np.zeros((64, 64, 3), np.uint8), vertices, np.concatenate([TOWARDS + 4, TOWARDS]), INTRINSICS, colour=(9, 9, 9))
    np.testing.assert_array_equal(near_last, near_first)


def test_what_turns_away_or_lies_behind_is_not_painted():
    black = np.zeros((64, 64, 3), np.uint8)
    assert not paint_mesh(black, SQUARE, TOWARDS[:, ::-1], INTRINSICS, colour=(255, 255, 255)).any()
    assert not paint_mesh(black, SQUARE * [1, 1, -1], TOWARDS, INTRINSICS, colour=(255, 255, 255)).any()


def test_a_sheet_has_a_caption_row_and_every_tile():
    tile = np.full((8, 8, 3), 7, np.uint8)
    out = sheet([[tile, tile], [tile, tile]], ["a", "b"], gap=2)
    assert out.shape == (22 + 2 * 10, 18, 3)
    assert (out == 7).all(axis=2).sum() == 4 * 64


def test_a_sheet_of_labelled_tiles():
    tile = label(np.full((8, 60, 3), 7, np.uint8), "a text much longer than the tile")
    assert tile.shape == (18 + 8, 60, 3)
    assert (tile[18:] == 7).all()
    assert tile[:18].min() < 200 < tile[:18].max()  # dark letters on white
    assert sheet([[tile, tile]], ["a", ""], gap=2).shape == (22 + 26 + 2, 2 * 60 + 2, 3)


def test_dots_rings_and_bones_lie_at_their_points():
    black = np.zeros((40, 40, 3), np.uint8)
    points = np.array([[10.5, 10.5], [30.5, 10.5], [np.nan, 3], [1e9, 3]])
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (0, 0, 200)]
    dots = paint_dots(black, points, colours, 3)
    assert dots[10, 10].tolist() == [200, 0, 0]
    assert dots[10, 30].tolist() == [0, 200, 0]
    assert not dots[..., 2].any()
    ring = paint_dots(black, points, colours, 6, ring=True)
    assert not ring[10, 10].any()
    assert ring[10, 16, 0] > 100
    bones = paint_bones(black, points, [(0, 1), (1, 2), (1, 3)], colours)
    assert bones[10, 20].tolist() == [0, 200, 0]
    assert not bones[..., 2].any()
    assert not black.any()


def test_a_box_is_its_outline_and_none_without_numbers():
    black = np.zeros((40, 40, 3), np.uint8)
    box = paint_box(black, np.array([5.5, 8.5, 30.5, 20.5]), (9, 9, 9))
    assert box[8, 5:31].all()
    assert not box[12, 10:25].any()
    assert not paint_box(black, np.full(4, np.nan), (9, 9, 9)).any()


def test_the_camera_of_a_crop_projects_into_it():
    """100 * 0.5 / 5 + 32 = 42 px, which a crop from 22 to 52 shows at 20 of 30, so 40 of 60."""
    camera = crop_intrinsics(INTRINSICS, np.array([22, 22, 52, 52]), 60)
    flat = camera @ SQUARE[2]
    np.testing.assert_allclose(flat[:2] / flat[2], [40, 40], atol=1e-12)
