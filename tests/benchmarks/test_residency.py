from argparse import ArgumentParser

from benchmarks import residency


def test_row_for_each_budget_with_loads_from_both_places() -> None:
    parser = ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    residency.add_options(parser)
    (row,) = residency.run(parser.parse_args(["--quick", "--host-mib", "50"]))["residency"]
    assert (row["styles that fit"], row["most MiB held"]) == (5, 50)
    assert float(row["loads from host"] or 0) > 0
    assert float(row["loads from disk"] or 0) > 0
    assert 0 < float(row["warm share"] or 0) < 1
