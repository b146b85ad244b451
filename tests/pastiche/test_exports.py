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


USER = """
import numpy as np
import pastiche
from PIL import Image

with pastiche.Client("http://127.0.0.1:9") as client:
    picture = client.stylize("photo.jpg", "wave", strength=0.5)
    reveal_type(picture.image())
    client.upscale(np.zeros((2, 2, 3), np.uint8), 4, fit="cover")
    client.stylize(Image.new("RGB", (2, 2)), {"wave": 1}, strenght=0.5)
    client.upscale("photo.jpg", 4, fit="covers")
    client.stylize(3, "wave")
    pastiche.Clint
"""


@pytest.mark.timeout(1200)  # mypy reads all stubs, without a cache
def test_users_get_types(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER)
    options = ["--strict", "--config-file=", "--no-error-summary", f"--cache-dir={tmp_path / 'cache'}"]
    command = [sys.executable, "-m", "mypy", *options, str(tmp_path / "user.py")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    said = done.stdout
    assert 'user.py:8: note: Revealed type is "PIL.Image.Image"' in said
    assert 'user.py:10: error: Unexpected keyword argument "strenght"' in said
    assert [line.split(":")[1] for line in said.splitlines() if " error: " in line] == ["10", "11", "12", "13"]
