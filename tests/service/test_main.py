import os
import subprocess
import sys
from pathlib import Path

from tests.service.live import PATIENCE

ROOT = Path(__file__).parents[2]

SLOW = """
import sys, time
print("importing", file=sys.stderr, flush=True)
time.sleep(600)
"""


def test_sigterm_ends_a_service_that_is_still_being_imported(tmp_path: Path) -> None:
    """By a handler: the first process of a container is not ended by what it does not handle."""
    (tmp_path / "torch.py").write_text(SLOW)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    command = [sys.executable, "-m", "service"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as handle:
        try:
            assert handle.stderr is not None
            assert "importing\n" in iter(handle.stderr.readline, "")
            handle.terminate()
            assert handle.wait(PATIENCE) == 0
        finally:
            handle.kill()
