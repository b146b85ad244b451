"""Every module is tested by the file that mirrors its path, or a line here says why it needs none."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("benchmarks", "client", "model_store", "pastiche", "service", "trainer")

UNMIRRORED = {
    "benchmarks/memory.py": "starts whole services and reads figures that test_processes.py and test_servers.py test",
    "benchmarks/ray_cluster.py": "starts a cluster of Ray, on which test_ray_serve.py measures",
    "benchmarks/peers/litserve.py": "needs the extra `benchmarks`",
    "model_store/errors.py": "exceptions without code, each raised in the tests of its module",
    "pastiche/video/errors.py": "an exception without code, raised in the tests of its package",
    "service/engine/deadline.py": "data alone; test_admission.py and test_scheduler.py hold it",
    "model_store/networks/network.py": "an interface; test_transform.py and test_imported.py test both of its classes",
    "service/imaging/workers/task.py": "data alone; test_messages.py and test_worker.py hold it",
    "service/engine/loaded_model.py": "data alone; test_model_loader.py and test_runner.py hold it",
    "service/member.py": "runs in a process of its own, which test_supervisor.py starts and ends",
    "service/membership.py": "data alone; test_supervisor.py passes it to processes",
    "service/http/probes.py": "sets of paths; the tests of access, hosts, connections and the log hold them",
    "service/http/routes/parameters.py": "annotations alone; test_openapi.py holds them against the endpoints",
    "service/ray/device.py": "runs in a process of Ray: test_application.py holds it on a cluster",
    "service/ray/routing.py": "runs in a process of Ray: test_application.py holds it; its ranking: test_ranking.py",
    "service/imaging/frame_transform.py": "an interface; test_style_transform.py and test_upscale_transform.py test it",
    "service/jobs/redis_scripts.py": "text alone; test_redis_store.py and test_store.py run every script",
    "service/pipeline/operation.py": "an interface; test_stylize.py and test_upscale.py test both of its classes",
}


def mirror(module: Path) -> Path:
    """tests/service/engine/test_tiling.py of service/engine/tiling.py."""
    return Path("tests") / module.parent / f"test_{module.stem.strip('_')}.py"


def modules() -> list[Path]:
    found = [path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return [path for path in found if path.name != "__init__.py"]


def test_every_module_has_its_tests() -> None:
    missing = {str(module) for module in modules() if not (ROOT / mirror(module)).exists()}
    assert missing == set(UNMIRRORED)


def test_no_package_hides_code_in_its_init() -> None:
    inits = [path for package in PACKAGES for path in (ROOT / package).rglob("__init__.py")]
    assert [str(path) for path in inits if "def " in path.read_text() or "class " in path.read_text()] == []
