from argparse import ArgumentParser

from benchmarks import decisions


def test_row_for_each_number_of_animations() -> None:
    parser = ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    decisions.add_options(parser)
    rows = decisions.run(parser.parse_args(["--quick"]))["decisions"]
    assert [(row["animations"], row["inference requests"]) for row in rows] == [(1, 20), (2, 40)]
    assert all(float(row[column] or 0) > 0 for row in rows for column in row)
