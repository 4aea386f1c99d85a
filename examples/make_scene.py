"""Write a synthetic Sentinel-2-like scene with clouds, to try geodecloud without a download.

Run, with geodecloud installed, from the repository root::

    python examples/make_scene.py cloudy.tif --clear truth.tif

Both files are GeoTIFFs of surface reflectance (B02, B03, B04, B08) on a 10 m grid. Nothing in
them exists: the hills are a fractal surface worn down by its own rivers, the rest follows from
the hills. Where there is neither cloud nor shadow, the two files agree to the last digit.
"""

from __future__ import annotations

import heapq
from pathlib import Path

import click
import numpy as np
import rasterio
from numpy.typing import ArrayLike, NDArray
from rasterio.transform import from_origin
from scipy import ndimage
from scipy.spatial import cKDTree

from geodecloud.training.clouds import fractal_field

Array = NDArray[np.floating]
Index = NDArray[np.intp]
BANDS, WAVELENGTHS_NM, PIXEL_M = ("B02", "B03", "B04", "B08"), (492, 560, 665, 833), 10
SUN_ELEVATION, SUN_AZIMUTH = 50, 135  # degrees; the azimuth clockwise from north
#: the terrain is worked out on cells of STEP pixels, with MARGIN cells around the scene
STEP, MARGIN = 3, 20
#: reflectance of B02, B03, B04, B08
CONIFER, BROADLEAF = (0.018, 0.034, 0.021, 0.23), (0.027, 0.052, 0.033, 0.33)
WATER, SHALLOW = (0.035, 0.038, 0.023, 0.014), (0.05, 0.06, 0.05, 0.06)
MEADOW, ROAD, VERGE = (0.04, 0.08, 0.05, 0.4), (0.13, 0.145, 0.155, 0.2), (0.035, 0.06, 0.04, 0.3)
CROPS = (
    (0.045, 0.080, 0.055, 0.38),  # wheat, still green
    (0.040, 0.090, 0.050, 0.45),  # rape, after flowering
    (0.055, 0.085, 0.090, 0.27),  # barley, ripe
    (0.060, 0.090, 0.100, 0.25),  # maize, rows still open
    (0.080, 0.110, 0.150, 0.22),  # bare soil
    MEADOW,
)


def field(size: int, beta: float, rng: np.random.Generator) -> Array:
    """Fractal field (size, size), cut from a larger one so that opposite edges differ."""
    return fractal_field(2 * size, beta, rng)[:size, :size].astype(float)


def paint(scene: Array, cover: Array, colour: ArrayLike) -> None:
    """Mix a colour, (4,) or (4, H, W), into the scene, in place."""
    colour = np.asarray(colour)
    scene += cover * ((colour[:, None, None] if colour.ndim == 1 else colour) - scene)


def flow_tree(height: Array, rng: np.random.Generator) -> tuple[Index, Index]:
    """Cells as a flood rising from the western edge reaches them, and each cell's way out.

    No river ends inland; small random rises keep them from crossing flats in straight lines.
    """
    cells = height.shape[0]
    level, bump = height.ravel().tolist(), rng.exponential(0.02, height.size).tolist()
    todo = np.pad(np.ones((cells - 2, cells - 2), bool), 1).ravel().tolist()
    parent, outlet = list(range(height.size)), cells // 2 * cells + 1
    todo[outlet], order = False, []
    heap = [(level[outlet], outlet)]
    steps = [row * cells + col for row in (-1, 0, 1) for col in (-1, 0, 1) if row or col]
    while heap:
        water, here = heapq.heappop(heap)
        order.append(here)
        for step in steps:
            there = here + step
            if todo[there]:
                todo[there], parent[there] = False, here
                heapq.heappush(heap, (max(water + bump[there], level[there]), there))
    return np.array(order), np.array(parent)


def terrain(cells: int, rng: np.random.Generator) -> tuple[Array, Array, Index]:
    """Height in metres, and for the flat cells drained area and flow parent.

    Rivers in balance with uplift are the flatter the more area they drain: walking up the flow
    tree with such slopes turns a fractal surface into ridges and valleys.
    """
    rough = field(cells, 3.0, rng)
    hardness = np.exp(0.9 * field(cells, 4.0, rng)).ravel()
    height = rough + 3 * np.linspace(0, 1, cells)  # down to the west
    for _ in range(3):
        order, parent = flow_tree(height, rng)
        area, climb = np.ones(cells * cells), np.zeros(cells * cells)
        for cell in order[:0:-1]:
            area[parent[cell]] += area[cell]
        rise = hardness * (area + 3) ** -0.5
        for cell in order[1:]:
            climb[cell] = climb[parent[cell]] + rise[cell]
        height = ndimage.gaussian_filter(climb.reshape(cells, cells) / climb.std(), 0.7)
        height += 0.03 * rough
    return 70 * ndimage.gaussian_filter(height, 1), area, parent


def channels(area: Array, parent: Index, rng: np.random.Generator) -> Array:
    """Rows and columns, (2, cells², 8) pixels, of dots from each cell to its parent.

    The eight directions of a grid look drawn with a ruler, hence the smoothing and meanders.
    """
    cells, main, by_area = round(area.size**0.5), np.arange(area.size), np.argsort(area)
    main[parent[by_area]] = by_area  # the last one written wins: the largest tributary
    at = np.stack(np.divmod(np.arange(area.size), cells)).astype(float)
    at += [1.2 * field(cells, 2.6, rng).ravel() for _ in range(2)]
    for _ in range(4):
        at = 0.5 * at + 0.25 * at[:, parent] + 0.25 * at[:, main]
    way = at[..., None] + (at[:, parent] - at)[..., None] * np.linspace(0, 1, 8)
    return (way - MARGIN) * STEP


def brush(dots: Array, radius: float, size: int) -> Array:
    """Coverage in [0, 1] of round dots at rows and columns (2, ...)."""
    empty = np.ones((size + 20, size + 20), bool)
    # dots from outside gather on the rim of the frame, too far away to show
    empty[*np.rint(dots.reshape(2, -1) + 10).astype(int).clip(0, size + 19)] = False
    far = ndimage.distance_transform_edt(empty)[10:-10, 10:-10]
    return np.clip(radius + 0.5 - far, 0, 1)


def farmland(size: int, rng: np.random.Generator) -> Array:
    """Reflectance of fields: each Voronoi cell is a farm with strips in its own direction."""
    at = np.mgrid[:size, :size] + [8 * field(size, 3.6, rng) for _ in range(2)]
    count = max(4, (size // 72) ** 2)
    seeds = rng.uniform(-40, size + 40, (count, 2))
    near, two = cKDTree(seeds).query(at.reshape(2, -1).T, k=2)
    apart = np.hypot(*(seeds[two[:, 0]] - seeds[two[:, 1]]).T)
    border = ((near[:, 1] ** 2 - near[:, 0] ** 2) / (2 * apart)).reshape(size, size)
    farm = two[:, 0].reshape(size, size)
    angle = rng.normal(0.5, 0.45, count)[farm]
    across = at[0] * np.cos(angle) + at[1] * np.sin(angle) + 9 * size
    along = at[1] * np.cos(angle) - at[0] * np.sin(angle) + 9 * size
    width, length = rng.uniform(8, 22, count)[farm], rng.uniform(25, 80, count)[farm]
    strip = (across // width).astype(int)
    along += rng.uniform(0, 80, 4096)[(strip * 613 + farm * 97) % 4096]  # ends do not line up
    number = (farm * 7919 + strip * 613 + (along // length).astype(int) * 3571) % 4096

    crop = rng.choice(len(CROPS), 4096, p=(0.29, 0.13, 0.16, 0.13, 0.1, 0.19))
    scene = np.array(CROPS)[crop][number].transpose(2, 0, 1) * rng.normal(1, 0.1, 4096)[number]
    scene *= np.exp(np.multiply.outer((0.05, 0.05, 0.08, -0.06), field(size, 2.4, rng)))
    paint(scene, 0.6 * np.clip(1 - np.minimum(across % width, along % length), 0, 1), VERGE)
    paint(scene, 0.6 * np.clip(1 - border, 0, 1), ROAD)
    return scene


def forest(size: int, rng: np.random.Generator) -> Array:
    """Reflectance (4, size, size) of mixed forest: stands, and crowns with their shade."""
    scene = np.multiply.outer(CONIFER, np.ones((size, size)))
    paint(scene, 1 / (1 + np.exp(-3 * field(size, 2.6, rng))), BROADLEAF)
    return scene * np.exp(0.35 * ndimage.gaussian_filter(rng.standard_normal((size, size)), 0.7))


def settle(scene: Array, level: NDArray[np.bool_], rng: np.random.Generator) -> None:
    """Paint villages on level ground and one winding road through them all."""
    size = scene.shape[1]
    sites: list[Index] = []
    for site in rng.permutation(np.argwhere(level[40:-40, 40:-40]))[:500] + 40:
        if len(sites) < 3 and all(np.hypot(*(site - other)) > size / 3 for other in sites):
            sites.append(site)
    ends = (-0.1 * size, 0.4 * size), (1.1 * size, 0.7 * size)
    stops = np.array([ends[0], *sorted(sites, key=tuple), ends[1]])
    bend = np.stack([40 * field(size, 4.2, rng) for _ in range(2)])
    share = np.linspace(0, 1, 4 * size)
    for start, end in zip(stops[:-1, :, None], stops[1:, :, None], strict=True):
        way = start + (end - start) * share
        row, col = way.astype(int).clip(0, size - 1)
        sway = bend[:, row, col]
        sway = sway - sway[:, :1] * (1 - share) - sway[:, -1:] * share  # none in the villages
        paint(scene, 0.8 * brush(way + sway, 0.6, size), ROAD)
    for site in sites:
        for row, col in rng.normal(site, rng.uniform(8, 14), (170, 2)).astype(int).clip(0):
            tall, wide = rng.integers(1, 4, 2)
            roof = rng.uniform(0.11, 0.22) * np.array([0.9, 0.95, rng.uniform(0.95, 1.25), 1.25])
            scene[:, row : row + tall, col : col + wide] = roof[:, None, None]


def lake_cover(height: Array, near: Array, size: int) -> Array:
    """Coverage of a lake that fills the valley around the flattest of the points ``near``."""
    slope = ndimage.gaussian_filter(np.hypot(*np.gradient(height)), 15)
    spots = near.astype(int).clip(0, size - 1)
    off_centre = np.abs(spots / size - 0.5).max(0) > 0.3
    row, col = spots[:, np.argmin(slope[*spots] + 9 * off_centre)]
    far = np.hypot(*np.ogrid[-row : size - row, -col : size - col])
    shore = 1 - (height - height[row, col]) / 9 - (far / (0.09 * size)) ** 2
    return np.clip(12 * ndimage.gaussian_filter(shore, 2), 0, 1)


def landscape(size: int, rng: np.random.Generator) -> Array:
    """Reflectance (4, size, size) of the ground under a clear sky."""
    coarse, area, parent = terrain(-(-size // STEP) + 2 * MARGIN, rng)
    height = ndimage.affine_transform(coarse, [1 / STEP] * 2, MARGIN, (size, size))
    south, east = (-slope for slope in np.gradient(height, PIXEL_M))  # positive: falls that way
    steep = ndimage.gaussian_filter(np.hypot(south, east), 5)
    streams = channels(area, parent, rng)
    lake = lake_cover(height, streams[:, area > 0.05 * area.size, 0], size)

    scene, patchy = farmland(size, rng), field(size, 2.5, rng)
    wooded = np.clip(25 * (steep - 0.21 + 0.085 * patchy), 0, 1)
    settle(scene, (steep < 0.15) & (wooded == 0) & (lake == 0), rng)
    paint(scene, 0.75 * np.clip(25 * (steep - 0.18 + 0.06 * patchy), 0, 1), MEADOW)
    banks = brush(streams[:, (area > 200) & (area < 0.03 * area.size)], 1, size)
    paint(scene, np.maximum(wooded, 0.75 * banks), forest(size, rng))
    # a fifth of the light comes from the whole sky
    lit = 1 + (south + east) / np.sqrt(2) / np.tan(np.radians(SUN_ELEVATION))
    scene *= 0.2 + 0.8 * np.clip(lit / np.sqrt(1 + south**2 + east**2), 0.15, 1.8)
    for least, radius in ((0.03, 0.7), (0.2, 1.5)):
        paint(scene, 0.9 * brush(streams[:, area > least * area.size], radius, size), WATER)
    paint(scene, lake, SHALLOW)
    paint(scene, ndimage.gaussian_filter(lake, 3) ** 2 * lake, WATER)
    scene = ndimage.gaussian_filter(scene, (0, 0.55, 0.55))  # the optics
    return np.clip(scene + rng.normal(0, 0.0015, scene.shape), 0.001, None)


def cumulus(
    size: int, cover: float, height_m: float, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Opacity, shadow and brightness, each (size, size), of clouds at one height."""
    reach = height_m / np.tan(np.radians(SUN_ELEVATION)) / np.sqrt(2) / PIXEL_M
    side = size + round(reach)  # clouds beyond the scene's south and east cast shadows into it
    depth = ndimage.gaussian_filter(field(side, 3.2, rng), 0.8)
    depth -= ndimage.gaussian_filter(depth, 30)  # separate clouds, not continents
    depth = depth / depth.std() + 0.9 * field(side, 4, rng)
    depth = np.clip(depth - np.quantile(depth[:size, :size], 1 - cover), 0, None)
    opacity = 1 - np.exp(-2 * depth**1.3)
    relief = ndimage.gaussian_filter(depth, 1.5)
    bright = 0.3 * np.exp(-2.5 * sum(np.gradient(relief))) * (1 + 0.3 * relief)
    shadow = ndimage.gaussian_filter(1 - np.exp(-2.5 * depth), 1.5)
    shadow = np.where(shadow < 0.01, 0, 0.65 * shadow)[-size:, -size:]
    return opacity[:size, :size], shadow, bright[:size, :size].clip(0.15, 0.9)


def cirrus(size: int, cover: float, rng: np.random.Generator) -> Array:
    """Opacity (size, size) of a fibrous band from the south-west to the north-east."""
    row, col = np.mgrid[:size, :size]
    along, across = (col - row) / np.sqrt(2), (col + row) / np.sqrt(2)
    fibres = fractal_field(2 * size, 3.0, rng)
    fibres = ndimage.map_coordinates(fibres, [across, along / 4], order=1, mode="grid-wrap")
    depth = fibres - ((across / size - 0.95) / 0.16) ** 2
    return 1 - np.exp(-0.6 * np.clip(depth - np.quantile(depth, 1 - cover), 0, None))


def add_clouds(clear: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """The scene under clouds (4, H, W), and their opacity at 560 nm (H, W)."""
    size = clear.shape[1]
    low, high = cumulus(size, 0.08, 700, rng), cumulus(size, 0.09, 1100, rng)
    veil = cirrus(size, 0.17, rng)
    # blue skylight fills the shadows; the cirrus casts its own far outside the scene
    fill = np.array([0.85, 0.9, 0.95, 1.0])
    cloudy = clear * (1 - np.multiply.outer(fill, np.maximum(low[1], high[1])))
    for opacity, _, bright in (low, high):
        paint(cloudy, opacity, np.multiply.outer((1, 0.99, 0.99, 1.02), bright))
    angstrom = (560 / np.array(WAVELENGTHS_NM)) ** 0.6  # thin ice scatters blue a little more
    paint(cloudy, 1 - (1 - veil) ** angstrom[:, None, None], (0.40, 0.39, 0.385, 0.38))
    return cloudy, 1 - (1 - low[0]) * (1 - high[0]) * (1 - veil)


def write(path: Path, scene: Array) -> None:
    """Write a tiled GeoTIFF, empty (0) beyond the swath's slanted eastern edge."""
    size = scene.shape[1]
    row, col = np.mgrid[:size, :size]
    numbers = np.clip(np.rint(scene * 10000), 1, 65535).astype(np.uint16)
    numbers[:, col - size > 0.3 * (0.62 * size - row)] = 0
    grid = {"crs": "EPSG:32633", "transform": from_origin(399960, 5300040, PIXEL_M, PIXEL_M)}
    grid |= {"count": 4, "height": size, "width": size, "dtype": "uint16", "nodata": 0}
    tiles = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}
    with rasterio.open(path, "w", driver="GTiff", predictor=2, **grid, **tiles) as out:
        out.write(numbers)
        out.descriptions, out.scales, out.offsets = BANDS, (0.0001,) * 4, (0.0,) * 4
        out.update_tags(
            SATELLITE="synthetic", ACQUISITION="2021-06-14T10:00:31Z", SUN_AZIMUTH=str(SUN_AZIMUTH)
        )


@click.command()
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--clear", "truth", type=click.Path(dir_okay=False, path_type=Path), help="Cloudless twin."
)
@click.option("--size", default=768, show_default=True, type=click.IntRange(256, 4096))
@click.option("--seed", default=7, show_default=True, help="The same seed, the same scene.")
def main(out: Path, truth: Path | None, size: int, seed: int) -> None:
    """Write a synthetic cloudy scene of SIZE pixels a side to OUT."""
    rng = np.random.default_rng(seed)
    clear = landscape(size, rng)
    cloudy, opacity = add_clouds(clear, rng)
    write(out, cloudy)
    if truth:
        write(truth, clear)
    click.echo(f"{out}: {np.mean(opacity > 0):.0%} cloudy, {np.mean(opacity > 0.8):.0%} opaque")


if __name__ == "__main__":
    main()
