from argparse import ArgumentParser, Namespace
from pathlib import Path

import torch

from benchmarks.normalisation import VARIANTS, StandardizedInput, add_options, run
from model_store import ModelStore, NetworkSpec


def test_a_standardised_photograph_has_one_brightness_and_contrast() -> None:
    network = StandardizedInput(NetworkSpec(architecture="c3s1-4,c3s1-3", form="same")).eval()
    photograph = torch.rand(2, 3, 24, 20)
    with torch.no_grad():
        assert torch.allclose(network(0.3 * photograph + 0.1), network(photograph), atol=1e-5)
        assert torch.isfinite(network(torch.zeros(1, 3, 8, 8))).all()


def test_variants_share_a_run_where_only_what_is_judged_differs() -> None:
    runs = [variant.run for variant in VARIANTS.values()]
    assert VARIANTS["batch, weights of the last step"].run == VARIANTS["batch"].run
    assert len(set(runs)) == len(runs) - 1
    assert {"instance", "none", "thumbnail"} < set(runs)


def test_a_taught_variant_has_its_teacher_trained_first(tmp_path: Path) -> None:
    parser = ArgumentParser()
    add_options(parser)
    options = ["--variants", "batch, taught by instance", "--runs", str(tmp_path), "--threads", "1"]
    (rows,) = run(Namespace(quick=True, **vars(parser.parse_args(options)))).values()
    (row,) = rows
    assert (row["normalisation"], row["steps"]) == ("batch, taught by instance", 2)
    assert isinstance(row["480 px"], float)
    assert ModelStore(tmp_path / "store").names() == ["instance"]
