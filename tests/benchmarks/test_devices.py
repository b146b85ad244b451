from argparse import ArgumentParser

from benchmarks import devices


def test_row_for_each_number_of_devices() -> None:
    parser = ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    devices.add_options(parser)
    tables = devices.run(parser.parse_args(["--quick", "--megapixel-ms", "20", "--clients", "4"]))
    [(name, rows)] = tables.items()
    assert name == "64 × 64, 20 ms a megapixel"
    assert [row["devices"] for row in rows] == [1, 2]
    assert all(float(row["images/s"] or 0) > 0 for row in rows)
    assert rows[0]["times one device"] == 1
