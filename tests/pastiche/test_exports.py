import subprocess
import sys
from pathlib import Path

import pytest

import pastiche
from pastiche.exports import EXPORTS, MODULES, import_name

ROOT = Path(__file__).parents[2]


def test_every_public_name_is_found() -> None:
    assert set(pastiche.__all__) == EXPORTS.keys() | MODULES
    for name in pastiche.__all__:
        assert getattr(pastiche, name) is import_name(name)
    with pytest.raises(AttributeError, match="has no attribute 'Clint'"):
        import_name("Clint")


def test_name_imports_no_more_than_it_needs() -> None:
    program = (
        "import sys, pastiche\n"
        "assert 'httpx' not in sys.modules\n"
        "pastiche.Client('http://127.0.0.1:9').close()\n"
        "print(*sorted({'torch', 'service', 'model_store', 'PIL', 'numpy', 'tqdm'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
