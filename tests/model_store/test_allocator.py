import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
if sys.argv[1] == "kept":
    from model_store.allocator import configure_allocator
    configure_allocator()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(64 * 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def faults(mode: str) -> int:
    """Page faults of the second of two allocations of 64 MiB in a process of its own."""
    command = [sys.executable, "-c", FAULTS, mode]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_memory_is_kept_for_the_next_pass() -> None:
    assert faults("default") > 1000
    assert faults("kept") < 100
