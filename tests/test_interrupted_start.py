"""Commands that are interrupted while they import what takes seconds: a signal ends them without a traceback."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.live import PATIENCE

ROOT = Path(__file__).parents[1]

SLOW = """
import sys, time
print("importing", file=sys.stderr, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("module", "library", "status", "said"),
    [
        ("trainer", "torch", 130, "interrupted\n"),
        ("model_store", "torch", 130, "interrupted\n"),
        ("client", "httpx", 130, "interrupted; the same command goes on from here\n"),
        ("service", "torch", 0, ""),
        ("service.http.access", "pydantic", 130, "interrupted\n"),
    ],
)
@pytest.mark.parametrize("program", ["-m", "-c"])
def test_ctrl_c_ends_a_command_that_is_still_being_imported(
    tmp_path: Path, program: str, module: str, library: str, status: int, said: str
) -> None:
    """As `python -m` starts it, and as the script that pip makes."""
    (tmp_path / f"{library}.py").write_text(SLOW)
    path = os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")])
    script = f"import sys; from {module}.__main__ import main; sys.exit(main())"
    command = [sys.executable, program, module if program == "-m" else script]
    environment = os.environ | {"PYTHONPATH": path}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as handle:
        try:
            assert handle.stderr is not None
            assert handle.stderr.readline() == "importing\n"
            handle.send_signal(signal.SIGINT)
            assert handle.wait(PATIENCE) == status
            assert handle.stderr.read() == said
        finally:
            handle.kill()
