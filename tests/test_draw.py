import numpy as np

from hpsbench.draw import paint_mesh, sheet

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
