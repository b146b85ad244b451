import pytest

from model_store import STYLE, UPSCALE_4, UPSCALE_8, Architecture, ArchitectureError


@pytest.mark.parametrize(
    "notation",
    [STYLE, UPSCALE_4, UPSCALE_8, "c3s1-64,R64*8,c3s1-48,p4", "c5s1-3", "d8,t8,t8,c3s1-3"]
    + [f"c3s1-8,{blocks},c3s1-3" for blocks in ("R8*64,R8", "R8*64,R8*64", "R8*64,R8*64,R8*2")],
)
def test_prints_what_it_parsed(notation: str) -> None:
    assert str(Architecture.parse(notation)) == notation


def test_runs_of_equal_layers_are_abbreviated() -> None:
    assert str(Architecture.parse("c3s1-8, R8, R8*2 ,c3s2-8,u8,c3s1-3")) == "c3s1-8,R8*3,d8,u8,c3s1-3"


@pytest.mark.parametrize(
    ("notation", "scale", "stride"),
    [
        (STYLE, 1, 4),
        (UPSCALE_4, 4, 1),
        (UPSCALE_8, 8, 1),
        ("c3s1-12,p2", 2, 1),
        ("d8,u8,u8,c3s1-3", 2, 2),
        ("d8,t8,t8,c3s1-3", 2, 2),
        ("c3s3-36,p2,c3s3-81,p3,c3s1-27,p3,c3s1-3", 2, 9),
    ],
)
def test_scale_and_stride(notation: str, scale: int, stride: int) -> None:
    architecture = Architecture.parse(notation)
    assert (architecture.scale, architecture.stride) == (scale, stride)


@pytest.mark.parametrize(
    ("notation", "complaint"),
    [
        ("c9s1-32,x5,c9s1-3", "'x5' is no layer"),
        ("", "'' is no layer"),
        ("c4s1-3", "odd sides"),
        ("c3s1-8,R16,c3s1-3", "receives 8 channels"),
        ("c3s1-8,c3s1-7,p2", "multiple of 4"),
        ("c3s1-8", "ends with 8 channels"),
        ("d8,c3s1-3", "not 1/2"),
        ("R0*2,c3s1-3", "at least 1"),
        ("c3s1-3*0", "at least 1"),
        ("c3s1-8,R8*65,c3s1-3", "repetitions are at most 64"),
        ("d1025,u8,c3s1-3", "filters are at most 1024"),
        ("c17s1-3", "kernel is at most 15"),
        ("c3s9-8,u8,c3s1-3", "stride is at most 8"),
        ("c3s1-243,p9", "factor is at most 8"),
        ("c3s1-3*99999999999", "is no layer"),
        ("u4*7,c3s1-3", "at most 64 times"),
        ("d4*7,u4*7,c3s1-3", "at most 64 times"),
        ("c3s1-8," + "R8*64," * 4 + "c3s1-3", "has more than 256 layers"),
        ("c3s1-4," * 10**5 + "c3s1-3", "has more than 256 layers"),
        ("c3s1-1024,R1024*7,R1024*8,c3s1-3", "has 283,170,816 weights; at most 134,217,728 are taken"),
        ("c15s1-1024*2,c3s1-3", "has 236,648,448 weights; at most 134,217,728 are taken"),
    ],
)
def test_refuses_invalid_notation(notation: str, complaint: str) -> None:
    with pytest.raises(ArchitectureError, match=complaint):
        Architecture.parse(notation)
