import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store import STYLE, UPSCALE_4, Architecture, ArchitectureError
from model_store.networks import Geometry


def test_style_network_of_the_paper() -> None:
    geometry = Geometry.of(Architecture.parse(STYLE))
    assert (geometry.halo, geometry.crop, geometry.stride) == (55, 1, 4)
    assert geometry.plane(512) == 619


def test_upscaling_network_of_the_paper() -> None:
    geometry = Geometry.of(Architecture.parse(UPSCALE_4))
    assert (geometry.halo, geometry.crop, geometry.stride) == (14, 1, 1)


def test_halo_respects_its_lower_bound() -> None:
    assert Geometry.of(Architecture.parse("c3s1-12,p2")).halo == 1
    assert Geometry.of(Architecture.parse("c3s1-12,p2"), min_halo=2).halo == 2
    assert Geometry.of(Architecture.parse("c3s1-12,p2"), min_halo=2).halos(7) == (2, 2)


@pytest.mark.parametrize("notation", ["c3s1-12,p2,c3s2-3", "u8,c5s2-8,c3s1-3"])
def test_strides_that_no_halo_can_align_are_refused(notation: str) -> None:
    with pytest.raises(ArchitectureError, match="between pixels"):
        Geometry.of(Architecture.parse(notation))


@given(side=st.integers(1, 5000), more=st.integers(0, 8))
def test_planes_grow_with_the_side_by_the_stride(side: int, more: int) -> None:
    geometry = Geometry.of(Architecture.parse(STYLE))
    assert geometry.plane(side + 4 * more) == geometry.plane(side) + 4 * more
    before, after = geometry.halos(side)
    assert before + side + after == geometry.plane(side)
    assert after >= 0
