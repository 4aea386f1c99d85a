"""Every decision about a scene, handed to what each of its chunks runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import dask.array as da
import numpy as np

from geodecloud.backends.declouder import ModelHandle
from geodecloud.compute.chunks import Indexed
from geodecloud.models.catalogue import get_card
from geodecloud.options import Options
from geodecloud.raster.reader import absolute
from geodecloud.restore.chunk import ChunkRestorer, Predictor
from geodecloud.restore.clear_ground import CloudFinder, coarse
from geodecloud.restore.decisions import Decisions
from geodecloud.restore.first_pass import FirstPass, Sky, look
from geodecloud.restore.network import MOST_FILL_PX, NetworkPredictor
from geodecloud.restore.relight import Light
from geodecloud.restore.veil_lifter import VeilLifter, look_for_veil
from geodecloud.scene.bands import known_wavelength_nm
from geodecloud.scene.gaps import Gaps
from geodecloud.scene.metadata import Metadata
from geodecloud.windows.tiler import Window


def chunk_restorer(
    pixels: da.Array,
    valid: Indexed | None,
    metadata: Metadata,
    decisions: Decisions,
    options: Options,
) -> ChunkRestorer:
    """Hand every decision to the function that each chunk runs."""
    predictor: Predictor = _make_network(
        metadata, decisions, options, may_have_gaps=valid is not None
    )
    if decisions.card.lifts_veil and metadata.dtypes[0] == "uint8":
        veil = look_for_veil(pixels, valid, decisions, options)
        predictor = predictor if veil is None else VeilLifter(veil, decisions.codec.tone)
    height, width = metadata.grid.shape_yx
    return ChunkRestorer(
        predictor=predictor,
        codec=decisions.codec,
        gaps=decisions.gaps,
        channels=decisions.channels,
        alpha=metadata.alpha,
        mask=decisions.mask_kind,
        strict=options.strict,
        extent=Window(0, 0, width, height),
        check=not decisions.checked,
    )


def look_first(
    restorer: ChunkRestorer,
    arrays: Sequence[Indexed | None],
    metadata: Metadata,
    decisions: Decisions,
    options: Options,
    mirrored: bool = False,
) -> da.Array:
    """What the first pass sees of a scene, or of the mirrored one, lazily, see `geodecloud.restore.first_pass.look`."""
    finder = None  # a mask that is given has the last word, and no network need be asked
    if decisions.mask_kind != "given":
        finder = _cloud_finder(restorer, metadata, decisions, options)
    light = _light(decisions)
    dark = -1 if light is None else light.dark
    first_pass = FirstPass(restorer, finder, decisions.card.cloud_threshold, dark)
    first_pass = first_pass.mirrored if mirrored else first_pass
    # large parts are quicker where all cores work on one, and take memory
    shared = decisions.backend == "openvino" and options.max_memory is None
    return look(first_pass, arrays, shared)


def sky_of(metadata: Metadata, decisions: Decisions) -> Sky | None:
    """What tells where the shadows of a scene lie; None: its bands do not."""
    light = _light(decisions)
    if light is None:
        return None
    pixel_m, azimuth = metadata.grid.pixel_m, decisions.sun_azimuth_deg
    return Sky(pixel_m, azimuth, light, decisions.card.reads_shade)


def _light(decisions: Decisions) -> Light | None:
    """Which of the restored bands tell of shadows; None: there is no near infrared."""
    names = decisions.card.channel_names
    bands = [names[slot] for slot in decisions.slots] if names else []
    return Light.of(bands, [known_wavelength_nm(band) or 835.0 for band in bands])


def _cloud_finder(
    restorer: ChunkRestorer, metadata: Metadata, decisions: Decisions, options: Options
) -> CloudFinder | None:
    """What finds the clouds of a scene before all else; None: the model sees none."""
    own, name = restorer.predictor, decisions.first_pass
    card = decisions.card
    if not isinstance(own, NetworkPredictor) or card.kind != "spanet" or not card.has_cloud_map:
        return None
    bands = [card.channel_names[slot] for slot in decisions.slots]
    if name not in (None, "mask", card.name):
        finds = get_card(name)
        other = replace(
            decisions,
            card=finds,
            model=name,
            window_px=None,
            halo_px=finds.halo_px or 0,
            align_px=finds.align_px,
            layout=None,
        )
        own = _make_network(metadata, other, options, may_have_gaps=own.fill_px > 0)
    network = replace(own, extent=coarse(restorer.extent), ends=((), ()))
    return CloudFinder.of(network, bands)


def _make_network(
    metadata: Metadata, decisions: Decisions, options: Options, may_have_gaps: bool
) -> NetworkPredictor:
    """The network with all that was decided about it."""
    model = decisions.model
    handle = ModelHandle(
        decisions.card,
        absolute(model) if isinstance(model, str) and model.endswith(".safetensors") else model,
        decisions.device,
        decisions.precision,
        decisions.backend,
        options.batch_size,
        options.workers or decisions.cores,
    )
    if decisions.cores is not None:
        handle.load()  # a device that is not there is known before the first chunk
    floating = np.issubdtype(np.dtype(metadata.dtypes[0]), np.floating)
    has_gaps = may_have_gaps or decisions.codec.nodata is not None or floating
    has_gaps |= decisions.gaps != Gaps()
    layout = decisions.layout
    return NetworkPredictor(
        model=handle,
        slots=decisions.slots,
        window_px=decisions.window_px,
        reach_px=decisions.halo_px,
        # the card's reach, not the halo asked for: the result must not depend on the halo
        fill_px=min(decisions.card.halo_px or 0, MOST_FILL_PX) if has_gaps else 0,
        extent=Window(0, 0, *metadata.grid.shape_yx[::-1]),
        align_px=decisions.align_px,
        # under a mask few windows are whole, and strips along the edge are not worth their graphs
        ends=((), ()) if layout is None or decisions.mask_kind == "given" else layout.ends,
    )
