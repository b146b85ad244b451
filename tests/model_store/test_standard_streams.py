import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.live import PATIENCE

ROOT = Path(__file__).parents[2]

PROGRAM = """
import os, sys
from {module} import {name}
{name}()
for number, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)):
    assert stream.fileno() == number
    assert os.get_inheritable(number)
print("told", file=sys.stderr)
print("said")
"""


@pytest.mark.parametrize(
    ("module", "name"),
    [("model_store.standard_streams", "open_closed_streams"), ("client.__main__", "_open_closed_streams")],
)
@pytest.mark.parametrize(
    ("closed", "said", "told"), [("", "said\n", "told\n"), ("<&- 2>&-", "said\n", ""), ("<&- >&-", "", "told\n")]
)
def test_closed_streams_are_opened_in_their_places(module: str, name: str, closed: str, said: str, told: str) -> None:
    program = PROGRAM.format(module=module, name=name)
    command = ["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, said, told)


@pytest.mark.parametrize(
    ("encoding", "said"), [("utf-8:strict", b"caf\\udce9 \xc3\x97\n"), ("ascii", b"caf\\udce9 \\xd7\n")]
)
def test_what_an_encoding_lacks_is_escaped(encoding: str, said: bytes) -> None:
    program = (
        "from model_store.standard_streams import escape_unwritable; escape_unwritable(); print('caf\\udce9 \\xd7')"
    )
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, said, b"")
