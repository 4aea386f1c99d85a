from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from geodecloud.errors import WindowPlanError
from geodecloud.windows.tiler import (
    MAX_WINDOW_PX,
    Window,
    check_window,
    chunk_px,
    plan_chunks,
    plan_windows,
)


@st.composite
def extents_with_region(draw, most=70):
    """An extent that need not start at 0, and a region of at least 1 px inside it."""
    width, height = draw(st.integers(1, most)), draw(st.integers(1, most))
    extent = Window(draw(st.integers(0, 9)), draw(st.integers(0, 9)), width, height)
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    region = Window(
        extent.col_off + left,
        extent.row_off + top,
        draw(st.integers(1, width - left)),
        draw(st.integers(1, height - top)),
    )
    return extent, region


small_windows = st.builds(
    Window, st.integers(-4, 9), st.integers(-4, 9), st.integers(1, 6), st.integers(1, 6)
)


def pixels(window):
    """The oracle: a window is the set of its (col, row)."""
    return {
        (col, row)
        for col in range(window.col_off, window.col_off + window.width)
        for row in range(window.row_off, window.row_off + window.height)
    }


def times_covered(windows, region):
    """How often each pixel of `region` is covered, counted on a canvas that holds them all."""
    count = np.zeros((100, 100), int)
    for window in windows:
        count[window.slices_yx] += 1
    return count[region.slices_yx], count.sum()


@given(extents_with_region(), st.integers(1, 40), st.integers(0, 50))
def test_cores_cover_every_pixel_of_the_region_once_and_nothing_else(both, window_px, halo_px):
    extent, region = both
    cores = [plan.core for plan in plan_windows(region, window_px, halo_px, extent)]
    inside, total = times_covered(cores, region)
    assert (inside == 1).all()
    assert total == region.width * region.height


@given(extents_with_region(), st.integers(1, 40), st.integers(0, 30))
def test_cores_are_nearly_equal_and_windows_within_the_wish(both, window_px, halo_px):
    extent, region = both
    plans = plan_windows(region, window_px, halo_px, extent)
    for sides in ([p.core.width for p in plans], [p.core.height for p in plans]):
        assert max(sides) - min(sides) <= 1
    most = (9 / 8 * window_px + 2 * halo_px) ** 2
    assert all(p.padded.width * p.padded.height <= most for p in plans)


@given(extents_with_region(most=40), st.integers(4, 40), st.integers(0, 12))
@example((Window(0, 0, 33, 32), Window(0, 0, 33, 32)), 29, 9)  # 2 x 34 x 51, or 2 x 50 x 35
def test_no_regular_cut_within_the_wish_computes_less(both, window_px, halo_px):
    """Against all numbers of rows and columns, by brute force."""
    _, region = both
    plans = plan_windows(region, window_px, halo_px, region)
    rows = len({p.core.row_off for p in plans})
    cols = len({p.core.col_off for p in plans})
    most = (int(9 / 8 * window_px) + 2 * halo_px) ** 2

    def pixels_of(rows, cols):
        high, wide = -(-region.height // rows) + 2 * halo_px, -(-region.width // cols) + 2 * halo_px
        return rows * cols * high * wide if high * wide <= most else None

    every = [
        found
        for r in range(1, min(region.height, -(-2 * region.height // window_px)) + 1)
        for c in range(1, region.width + 1)
        if (found := pixels_of(r, c)) is not None
    ]
    assert pixels_of(rows, cols) == min(every)


@given(extents_with_region(most=18), st.integers(1, 12), st.integers(0, 20))
def test_padded_is_every_existing_pixel_within_the_halo_of_the_core(both, window_px, halo_px):
    extent, region = both
    for plan in plan_windows(region, window_px, halo_px, extent):
        core = plan.core
        around = Window(
            core.col_off - halo_px,
            core.row_off - halo_px,
            core.width + 2 * halo_px,
            core.height + 2 * halo_px,
        )
        assert pixels(plan.padded) == pixels(around) & pixels(extent)


@given(
    extents_with_region(most=60),
    st.integers(1, 40),
    st.integers(0, 20),
    st.sampled_from([2, 4, 8]),
)
def test_aligned_windows_begin_and_end_at_multiples_or_where_the_scene_does(
    both, window_px, halo_px, align_px
):
    extent, region = both
    extent, region = (
        w._replace(col_off=w.col_off - extent.col_off, row_off=w.row_off - extent.row_off)
        for w in (extent, region)
    )
    plans = plan_windows(region, window_px, halo_px, extent, align_px=align_px)
    inside, _ = times_covered([p.core for p in plans], region)
    assert (inside == 1).all()
    for plan in plans:
        for window in plan.core, plan.padded:
            assert pixels(window) <= pixels(extent)
            ends = (
                (window.col_off, window.col_off + window.width, extent.width),
                (window.row_off, window.row_off + window.height, extent.height),
            )
            for begin, end, last in ends:
                assert begin % align_px == 0
                assert end % align_px == 0 or end == last
        around = plan.core.grow(halo_px, extent)
        assert pixels(around) <= pixels(plan.padded)


@given(st.integers(1, 12000), st.integers(200, 2000), st.sampled_from([4, 8]))
def test_aligned_chunks_begin_at_multiples(length, window_px, align_px):
    halo_px = 38 * align_px
    cut = plan_chunks((length, length), window_px, halo_px, 9, align_px)
    assert sum(cut.rows) == length
    assert all(end % align_px == 0 for end in np.cumsum(cut.rows)[:-1])
    assert all(end % align_px == 0 for end in cut.ends[0])
    assert len(set(cut.rows[1:-1])) <= 1


@given(
    st.tuples(st.integers(1, 9000), st.integers(1, 9000)),
    st.integers(50, 1200),
    st.integers(0, 60),
    st.integers(0, 20),
)
def test_chunks_cover_a_scene_and_those_of_a_row_have_one_kind_of_large_window(
    shape_yx, window_px, halo_px, margin_px
):
    cut = plan_chunks(shape_yx, window_px, halo_px, margin_px)
    assert (sum(cut.rows), sum(cut.cols)) == shape_yx
    most = max(9 * window_px // 8, 512) + 2 * halo_px
    assert max(cut.rows + cut.cols) <= most + len(cut.rows + cut.cols)
    rows, _ = cut.ends
    assert all(0 < end < shape_yx[0] for end in rows)
    if not cut.ends[1]:
        assert len(cut.cols) <= 2 or halo_px == 0
        return
    height, width = shape_yx
    cut = dataclasses.replace(cut, ends=((), cut.ends[1]))  # rows are cut as columns are
    extent, row = Window(0, 0, width, height), Window(0, 0, width, min(cut.rows[0], 400))
    large = set()
    for col, chunk_width in zip(np.cumsum((0, *cut.cols)), cut.cols, strict=False):
        chunk = row._replace(col_off=int(col), width=chunk_width)
        region = chunk.grow(margin_px, extent)
        plans = plan_windows(region, most, halo_px, extent, cut.ends)
        covered = np.zeros(region.width, int)
        for plan in plans:
            covered[plan.core.col_off - region.col_off :][: plan.core.width] += 1
            left, right = plan.core.col_off, plan.core.col_off + plan.core.width
            if left < halo_px or right > width - halo_px:
                assert plan.core.width < halo_px + len(cut.cols)  # a strip at the edge
            else:
                large.add(plan.padded.width)
        assert (covered == 1).all()
    assert len(large) == 1


@given(small_windows, small_windows)
@example(Window(0, 0, 2, 2), Window(2, 0, 2, 2))
@example(Window(0, 0, 2, 2), Window(0, 2, 2, 2))
def test_intersects_as_sets_of_pixels_do(one, other):
    assert one.intersects(other) == bool(pixels(one) & pixels(other))
    assert other.intersects(one) == one.intersects(other)


@given(extents_with_region(most=12), st.integers(0, 15))
def test_grow_adds_the_pixels_within_that_many_steps(both, px):
    extent, window = both
    near = {
        (col, row)
        for col, row in pixels(extent)
        if any(max(abs(col - c), abs(row - r)) <= px for c, r in pixels(window))
    }
    assert pixels(window.grow(px, within=extent)) == near


@given(extents_with_region(most=20), st.integers(1, 7))
def test_snap_takes_all_of_each_square_that_it_touches(both, px):
    extent, window = both
    squares = {(col // px, row // px) for col, row in pixels(window)}
    touched = {(col, row) for col, row in pixels(extent) if (col // px, row // px) in squares}
    assert pixels(window.snap(px, within=extent)) == touched


@given(extents_with_region(most=40))
def test_relative_window_finds_the_same_pixels_in_the_cut_out_array(both):
    origin, inner = both
    array = np.random.default_rng(0).random((3, 51, 53))
    cut = array[:, *origin.slices_yx]
    there = inner.relative_to(origin).slices_yx
    np.testing.assert_array_equal(cut[:, *there], array[:, *inner.slices_yx])
    assert cut[:, *there].shape[1:] == inner.shape_yx


@pytest.mark.parametrize(
    ("height", "width", "window_px", "sizes_yx"),
    [
        (1, 1, 256, [(1, 1)]),
        (1, 203, 50, [(1, 101), (1, 102)]),
        (101, 1, 256, [(101, 1)]),
        (101, 203, 256, [(101, 203)]),  # smaller than a window
        (256, 257, 256, [(256, 257)]),  # one pixel more than a window is no window of its own
        (9, 10, 8, [(9, 5), (9, 5)]),  # beyond the slack it is
        (20, 600, 128, [(20, 300), (20, 300)]),  # a window may be wider where it is less high
        (3, 2, 1, [(1, 1)] * 6),
    ],
)
def test_awkward_scenes_are_cut_into_the_fewest_windows(height, width, window_px, sizes_yx):
    scene = Window(0, 0, width, height)
    plans = plan_windows(scene, window_px, 36, scene)
    assert [plan.core.shape_yx for plan in plans] == sizes_yx


@pytest.mark.parametrize(
    ("length", "align_px", "sizes", "ends"),
    [
        # with 10 px on both sides each of 556 px at most, an eighth more than 512; 50 px more at the ends
        (2860, 1, (602, 552, 552, 552, 602), (40, 2820)),
        (2862, 1, (602, 552, 552, 552, 604), (40, 2820)),
        (2862, 8, (512, 456, 456, 456, 456, 526), (40, 2808)),  # 16 px on both sides
        (1212, 1, (606, 606), ()),
        (1213, 1, (421, 371, 421), (40, 1173)),
        (656, 1, (656,), ()),
        (657, 1, (328, 329), ()),
    ],
)
def test_chunks_by_hand(length, align_px, sizes, ends):
    cut = plan_chunks((length, 300), 512, 40, 10, align_px)
    assert (cut.rows, cut.ends[0]) == (sizes, ends)
    assert (cut.cols, cut.ends[1]) == ((300,), ())
    turned = plan_chunks((300, length), 512, 40, 10, align_px)
    assert (turned.cols, turned.ends[1]) == (sizes, ends)


def test_chunks_without_a_halo_end_where_they_do():
    assert plan_chunks((3000, 3000), 512, 0, 0).ends == ((), ())


def test_large_scenes_have_larger_chunks():
    assert [chunk_px(shape) for shape in ((9, 2048), (2048, 9))] == [512, 512]
    assert [chunk_px(shape) for shape in ((9, 2049), (2049, 9))] == [1024, 1024]


def test_a_cut_at_the_ends_of_a_region_leaves_no_empty_core():
    scene, region = Window(0, 0, 40, 30), Window(10, 5, 20, 20)
    plans = plan_windows(region, 64, 3, scene, ends=((5, 9, 25), (10, 20, 30)))
    assert [p.core for p in plans] == [
        Window(left, top, 10, height) for top, height in ((5, 4), (9, 16)) for left in (10, 20)
    ]


def test_aligned_windows_end_at_the_ends_in_whole_numbers():
    scene = Window(0, 0, 70, 50)
    plans = plan_windows(scene, 64, 3, scene, ends=((8, 40), (16,)), align_px=4)
    cores = [p.core for p in plans]
    assert {core.row_off for core in cores} == {0, 8, 40}
    assert {core.col_off for core in cores} == {0, 16}
    # numbers that slice
    assert sum(np.zeros((50, 70))[core.slices_yx].size for core in cores) == 50 * 70
    assert sum(np.zeros((50, 70))[p.padded.slices_yx].size for p in plans) > 50 * 70


def test_windows_come_row_by_row():
    scene = Window(0, 0, 20, 20)
    corners = [(p.core.row_off, p.core.col_off) for p in plan_windows(scene, 10, 3, scene)]
    assert corners == [(0, 0), (0, 10), (10, 0), (10, 10)]


@pytest.mark.parametrize("window_px", [0, -1, MAX_WINDOW_PX + 1, 70_000])
def test_refuses_impossible_windows(window_px):
    scene = Window(0, 0, 101, 203)
    with pytest.raises(WindowPlanError, match=rf"window of {window_px} px.*window=256"):
        plan_windows(scene, window_px, 0, scene)


@pytest.mark.parametrize("halo_px", [-1, 70_000])
def test_refuses_impossible_halos(halo_px):
    scene = Window(0, 0, 101, 203)
    with pytest.raises(WindowPlanError, match=rf"halo of {halo_px} px.*halo=.auto"):
        plan_windows(scene, 64, halo_px, scene)


def test_accepts_the_smallest_and_the_largest_window():
    check_window(1, 0)
    check_window(MAX_WINDOW_PX, MAX_WINDOW_PX)
