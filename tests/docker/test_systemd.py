"""docker/systemd/pastiche.service: systemd accepts it, and it stops the service as the service wants to be stopped."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

from service.settings import Settings

UNIT = Path(__file__).parents[2] / "docker" / "systemd" / "pastiche.service"
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="needs systemd-analyze")

MOST_EXPOSED = 35
"""Ten times the exposure, from 0 to 10, that systemd finds acceptable here; an unconfined service has 9.6."""


def service() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign,assignment] # as the standard library documents it
    parser.read(UNIT)
    return parser["Service"]


def analyze(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What systemd says of the unit, with a program that is there."""
    assert ANALYZE is not None
    unit = folder / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/pastiche/bin/pastiche-serve", "/bin/true"))
    return subprocess.run([ANALYZE, *arguments, str(unit)], check=False, capture_output=True, text=True)


@needs_systemd
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    done = analyze(tmp_path, "verify", "--man=no")
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_service_is_confined(tmp_path: Path) -> None:
    done = analyze(tmp_path, "security", "--offline=yes", "--no-pager", f"--threshold={MOST_EXPOSED}")
    assert done.returncode == 0, done.stdout


def test_service_is_not_killed_before_it_has_drained_nor_restarted_with_wrong_settings() -> None:
    unit, settings = service(), Settings()
    assert int(unit["TimeoutStopSec"]) >= settings.shutdown_delay_seconds + settings.drain_seconds + 10
    assert (unit["KillMode"], unit["Restart"], unit["RestartPreventExitStatus"]) == ("mixed", "on-failure", "2")


def test_default_folders_are_in_the_state_directory() -> None:
    unit, settings = service(), Settings()
    assert unit["WorkingDirectory"] == f"/var/lib/{unit['StateDirectory']}"
    assert not Path(settings.stores[-1]).is_absolute()
    assert not settings.jobs_folder.is_absolute()
    assert int(unit["LimitNOFILE"]) >= 2 * 4096  # as many connections as by default, and as much for all else
