"""Every command of the documents runs against a real service; what cannot run here is parsed by its program."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from torch.distributed.run import get_args_parser

import benchmarks.__main__
import client.__main__
import model_store.__main__
import service.http.access.__main__
from service.http.access.api_key import KeysFile
from service.settings import Settings
from tests.docs.conftest import TILE_VALUES
from tests.docs.documents import OPERATIONS, README, ROOT, Block, Example, blocks, documents, examples
from tests.pastiche.video.clips import pictures, sound_packets
from tests.service.live import Live
from trainer.command_line import parse

HOST = "localhost:8000"
JOB = re.compile(r"/v1/jobs/([0-9a-f]{32})")
FORMATS = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF"}
CONSOLE = [block for document in documents() for block in blocks(document, "console")]
PYTHON = [block for document in documents() for block in blocks(document, "python")]
JAVASCRIPT = [block for document in documents() for block in blocks(document, "javascript")]


@dataclass
class Shell:
    """What the commands of one block share."""

    live: Live
    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    renamed: dict[str, str] = field(default_factory=dict)
    """Ids of jobs in the document, and what they are here."""

    def run(self, example: Example) -> None:
        """Run or check a command; raises AssertionError where it does not do what the document says."""
        words = example.words
        while re.fullmatch(r"[A-Z_]+=.*", words[0]):
            name = words.pop(0).partition("=")[0]
            known = name.startswith("PIP_") or name.removeprefix("PASTICHE_").lower() in Settings.model_fields
            assert known, f"{name} is no setting"
        program = words.pop(0).removeprefix(".venv/bin/")
        assert program in PROGRAMS, f"no way to check a command that begins with {program}"
        PROGRAMS[program](self, words, example)

    def here(self, text: str) -> str:
        """A text of the document for this service and its jobs."""
        for theirs, ours in self.renamed.items():
            text = text.replace(theirs, ours)
        key = self.live.client.headers.get("X-API-Key", "")
        return text.replace(HOST, self.live.url.removeprefix("http://")).replace("X-API-Key: …", f"X-API-Key: {key}")


def run_curl(shell: Shell, words: Sequence[str], example: Example) -> None:
    command = shell.here(example.command)
    if "/result" in command:
        status = re.search(r"(/v1/jobs/[\w.-]+)/result", command)
        assert status
        shell.live.until(status[1], lambda answer: answer.json()["state"] not in ("queued", "running"))
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=shell.folder,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if (theirs := JOB.search(example.shown)) and (ours := JOB.search(done.stdout)):
        shell.renamed[theirs[1]] = ours[1]
    if "/problems/" not in example.shown:
        assert "/problems/" not in done.stdout
    compare(example.shown, done.stdout)
    if "-o" in words:
        check_image(shell.folder / words[words.index("-o") + 1])


def compare(shown: str, actual: str) -> None:
    """The status, the header fields, the members of JSON and the problem that are shown are those of the output."""
    for pattern in (r"^HTTP/.*$", r"^[a-z][a-z-]*: ", r'"[a-z_]+":', r'"(?:type|title|status)":(?:"[^"…]*"|\d+)'):
        expected = {part.rstrip() for part in re.findall(pattern, shown, re.MULTILINE)}
        found = {part.rstrip() for part in re.findall(pattern, actual, re.MULTILINE)}
        assert expected <= found, f"shown, but not there: {sorted(expected - found)}"
    if shown.strip():
        assert actual.strip(), "output is shown, but there is none"


def check_image(path: Path) -> None:
    """The file is an image of the format that its name says."""
    with Image.open(path) as image:
        image.load()
        assert image.format == FORMATS[path.suffix]


def run_pastiche(shell: Shell, words: Sequence[str], _: Example) -> None:
    """With this service; or, by --local, with the store of the current folder."""
    environment = {
        "SERVER": shell.live.url,
        "STORES": str(shell.folder / "models"),
        "DEVICE": "cpu",
        "PRECISION": "fp32",
        "THREADS": "1",
        "TILE_VALUES": str(TILE_VALUES),
    }
    for name, value in environment.items():
        shell.monkeypatch.setenv(f"PASTICHE_{name}", value)
    assert client.__main__.main(words) == 0, shell.capsys.readouterr().err
    target = shell.folder / words[words.index("-o") + 1]
    written = sorted(target.rglob("*.*")) if target.is_dir() else [target]
    assert written
    for path in written:
        check_image(path) if path.suffix in FORMATS else check_video(path)


def check_video(path: Path) -> None:
    """The file is a video with sound."""
    assert pictures(path)
    assert sound_packets(path)


def run_models(shell: Shell, words: Sequence[str], _: Example) -> None:
    """With a folder of the test in place of a bucket, and of another one."""
    shell.monkeypatch.setenv("HOME", str(shell.folder))
    here = [re.sub("^(s3://bucket|file:///srv)", f"{shell.folder.as_uri()}/there", word) for word in words]
    assert model_store.__main__.main(here) == 0, shell.capsys.readouterr().err
    assert shell.capsys.readouterr().out


def run_keys(shell: Shell, words: Sequence[str], _: Example) -> None:
    redirect = words.index(">>")
    assert service.http.access.__main__.main(words[:redirect]) == 0
    with (shell.folder / words[redirect + 1]).open("a") as file:
        file.write(shell.capsys.readouterr().out)
    KeysFile.parse((shell.folder / words[redirect + 1]).read_bytes())


def parse_serve(_shell: Shell, words: Sequence[str], _: Example) -> None:
    keywords: dict[str, Any] = {"_cli_parse_args": list(words), "_cli_kebab_case": True}
    Settings(**keywords)


def parse_train(_shell: Shell, words: Sequence[str], _: Example) -> None:
    if "--help" not in words:
        parse(words)
        return
    with pytest.raises(SystemExit) as end:
        parse(words)
    assert end.value.code == 0


def parse_torchrun(shell: Shell, words: Sequence[str], example: Example) -> None:
    """It knows its own options, and what comes after the module is the trainer's."""
    end = words.index("--")
    assert get_args_parser().parse_known_args([*words[:end], "trainer"])[0].training_script == "trainer"
    assert words[end + 1] == "trainer"
    parse_train(shell, words[end + 2 :], example)


def parse_make(shell: Shell, words: Sequence[str], _: Example) -> None:
    target, *variables = words
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"the Makefile has no target {target}"
    programs = {"train": parse_train, "serve": parse_serve}
    for variable in variables:
        name, value = variable.split("=", 1)
        assert re.search(rf"^{name} +\?=", makefile, re.MULTILINE), f"the Makefile has no variable {name}"
        if name == "ARGS" and target in programs:
            arguments = Example(value, "")
            programs[target](shell, arguments.words, arguments)


def parse_compose(words: Sequence[str]) -> None:
    """`up`, also with a profile, and `run` of the trainer."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    if words[:2] == ["run", "--rm"]:
        assert services[words[2]]["entrypoint"] == ["pastiche-train"]
        parse(words[3:])
        return
    if words[0] == "--profile":
        assert any(words[1] in service.get("profiles", ()) for service in services.values())
        words = words[2:]
    assert words[0] == "up"
    assert set(words[1:]) <= services.keys()


def parse_docker(_shell: Shell, words: Sequence[str], _: Example) -> None:
    if words[0] == "compose":
        parse_compose(words[1:])
        return
    assert words[0] == "build"
    options = dict(zip(words[1:-1:2], words[2:-1:2], strict=True))
    dockerfile = (ROOT / options["-f"]).read_text()
    assert re.search(rf"^FROM \S+ AS {options['--target']}$", dockerfile, re.MULTILINE)


def parse_python(shell: Shell, words: Sequence[str], _: Example) -> None:
    """The benchmarks: their options are those of their help."""
    assert words[:2] == ["-m", "benchmarks"]
    benchmark, *options = words[2:]
    shell.monkeypatch.setattr(sys, "argv", ["benchmarks", benchmark, "--help"])
    with pytest.raises(SystemExit) as end:
        benchmarks.__main__.main()
    assert end.value.code == 0, shell.capsys.readouterr().err
    known = set(re.findall(r"--[a-z-]+", shell.capsys.readouterr().out))
    assert {option for option in options if option.startswith("--")} <= known


def parse_pip(_shell: Shell, words: Sequence[str], _: Example) -> None:
    assert words[:2] == ["install", "-e"]
    extra = re.fullmatch(r"\.\[(\w+)\]", words[2])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert extra
    assert extra[1] in project["optional-dependencies"]


PROGRAMS: Mapping[str, Callable[[Shell, Sequence[str], Example], None]] = {
    "curl": run_curl,
    "pastiche": run_pastiche,
    "pastiche-models": run_models,
    "pastiche-keys": run_keys,
    "pastiche-serve": parse_serve,
    "pastiche-train": parse_train,
    "torchrun": parse_torchrun,
    "make": parse_make,
    "docker": parse_docker,
    "python": parse_python,
    "pip": parse_pip,
}


@pytest.fixture
def shell(live: Live, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(live, workplace, monkeypatch, capsys)


STYLIZE = "curl -s --data-binary @thumbnail.jpg localhost:8000/v1/stylize/"
TRAIN = "pastiche-train style --name wave --style-image wave.jpg --content photos/"
BUILD = "docker build -f docker/Dockerfile"
RUN = "docker compose run --rm"


def skip_without_programs(block: Block) -> None:
    if re.search(r"^\$ curl ", block.text, re.MULTILINE) and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    if ".HEIC" in block.text:
        pytest.importorskip("pillow_heif")
    if "--to onnx" in block.text:
        pytest.importorskip("onnxscript")


@pytest.mark.parametrize("block", CONSOLE, ids=[block.name for block in CONSOLE])
def test_commands_do_what_is_shown(block: Block, shell: Shell, request: pytest.FixtureRequest) -> None:
    skip_without_programs(block)
    if "X-API-Key" in block.text:
        shell.live = request.getfixturevalue("live_with_keys")
    for example in examples(block):
        shell.run(example)


def image_files(block: Block, pattern: str) -> list[str]:
    """The images that a program writes."""
    return re.findall(pattern, block.text, re.MULTILINE)


def export_models(block: Block) -> None:
    """Write the exported models that a program reads, from the store of the current folder."""
    for name, suffix in re.findall(r'"([\w-]+)\.(onnx|pt2|safetensors)"', block.text):
        assert model_store.__main__.main(["export", name, "--to", suffix, "--out", f"{name}.{suffix}"]) == 0


@pytest.mark.parametrize("block", PYTHON, ids=[block.name for block in PYTHON])
def test_python_runs(block: Block, shell: Shell) -> None:
    for library in ("openai", "tensorflow", "onnxruntime", "spandrel"):
        if library in block.text:
            pytest.importorskip(library)
    export_models(block)
    found: dict[str, Any] = {}
    exec(shell.here(block.text), found)
    if "import openai" in block.text:
        with found["client"] as connection:
            assert found["edited"].data[0].b64_json
            assert connection.models.list().data
    if "tritonclient" in block.text:
        found["client"].close()
    for name in image_files(block, r'"(\w+\.(?:jpg|png|webp|tif))"\)(?:\.write_bytes|$)'):
        check_image(shell.folder / name)


@pytest.mark.parametrize("block", JAVASCRIPT, ids=[block.name for block in JAVASCRIPT])
def test_javascript_runs(block: Block, shell: Shell) -> None:
    """By the Node.js that comes with Playwright."""
    driver = pytest.importorskip("playwright._impl._driver")
    node = driver.compute_driver_executable()[0]
    program = shell.folder / "example.mjs"
    program.write_text(shell.here(block.text))
    done = subprocess.run([node, program], cwd=shell.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"@\d", done.stdout)
    for name in image_files(block, r'writeFile\("([\w.]+)"'):
        check_image(shell.folder / name)


def test_configuration_file_is_valid(tmp_path: Path) -> None:
    [block] = blocks(OPERATIONS, "toml")
    (tmp_path / "pastiche.toml").write_text(block.text)
    assert Settings(config=tmp_path / "pastiche.toml").host == "0.0.0.0"


def test_documents_have_examples() -> None:
    assert README in {block.document for block in CONSOLE}
    assert len(CONSOLE) > 20
    assert PYTHON
    assert JAVASCRIPT


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (f"{STYLIZE}great-wave -o painted.jpg", f"{STYLIZE}no-such-style -o painted.jpg"),
        (f"{STYLIZE}great-wave?strength=1 -o painted.jpg", f"{STYLIZE}great-wave?strenght=1 -o painted.jpg"),
        (f"{STYLIZE}great-wave?format=png -o painted.png", f"{STYLIZE}great-wave -o painted.png"),
        (f"{STYLIZE}great-wave", f"{STYLIZE}no-such-style"),
        ("curl -s localhost:8000/livez | grep ok", "curl -s localhost:8000/livez | grep failing"),
        ("pastiche stylize udnie photo.png -o a.jpg", "pastiche stylize no-such-style photo.png -o b.jpg"),
        ("pastiche stylize udnie photo.png -o a.jpg", "pastiche stylize udnie photo.png -o b.jpg --strenght=1"),
        ("pastiche-models show x4", "pastiche-models show no-such-model"),
        ("pastiche-serve --port 1", "pastiche-serve --no-such-option 1"),
        ("pastiche-serve --port 1", "pastiche-serve --port none"),
        (TRAIN, TRAIN.removesuffix("--content photos/")),
        (f"{TRAIN} --steps 1", f"{TRAIN} --no-such-option 1"),
        (f"{TRAIN} --norm batch", f"{TRAIN} --norm no-such-norm"),
        ("pastiche-train style --help", "pastiche-train no-such-command --help"),
        ("make serve", "make no-such-target"),
        ("make serve ARGS=--port=1", "make serve ARG=--port=1"),
        ('make serve ARGS="--port 1"', 'make serve ARGS="--no-such-option 1"'),
        (f'make train ARGS="{TRAIN.removeprefix("pastiche-train ")}"', 'make train ARGS="style --steps 1"'),
        ("docker compose up prometheus", "docker compose up no-such-service"),
        ("docker compose --profile cuda up", "docker compose --profile no-such-profile up"),
        (f"{RUN} {TRAIN.replace('pastiche-train', 'trainer')}", f"{RUN} {TRAIN.replace('pastiche-train', 'pastiche')}"),
        (f"{BUILD} --target cpu .", f"{BUILD} --target no-such-target ."),
        ("python -m benchmarks engine --quick", "python -m benchmarks no-such-benchmark --quick"),
        ("python -m benchmarks engine --quick", "python -m benchmarks engine --no-such-option"),
        ("pip install -e '.[paper]'", "pip install -e '.[no-such-extra]'"),
        ("PASTICHE_PORT=1 make serve", "PASTICHE_NO_SUCH_SETTING=1 make serve"),
        ("make serve", "no-such-program serve"),
    ],
)
def test_wrong_commands_are_found(right: str, wrong: str, shell: Shell) -> None:
    skip_without_programs(Block(README, 0, "console", f"$ {right}"))
    shell.run(Example(right, ""))
    with pytest.raises((Exception, SystemExit)):
        shell.run(Example(wrong, ""))


def test_other_output_than_what_is_shown_is_found() -> None:
    shown = 'HTTP/1.1 200 OK\nx-model: wave@1\n{"id":"1"}\n'
    compare(shown, 'HTTP/1.1 200 OK\nx-model: x4@3\netag: "1"\n{"id":"2","state":"queued"}\n')
    for actual in (shown.replace("200", "202"), shown.replace("x-model", "x-name"), shown.replace("id", "name"), ""):
        with pytest.raises(AssertionError):
            compare(shown, actual)
