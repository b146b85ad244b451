import errno
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from model_store import Draft, ModelStore
from model_store.__main__ import main
from model_store.golden import Golden
from tests.networks import network
from tests.originals import FastNeuralStyle


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for _ in range(2):
        ModelStore(tmp_path).publish(network("c3s1-4,c3s1-3"), Draft(name="wave", task="style", title="The Wave"))
    return tmp_path


def run(root: Path, *arguments: str) -> int:
    return main(["--store", str(root), *arguments])


def test_list_names_models_and_versions(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "list") == 0
    line = capsys.readouterr().out
    assert "wave@2" in line
    assert "1, 2" in line
    assert "The Wave" in line


def test_the_store_may_be_named_before_the_command_or_after_it(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["--store", str(root), "show", "wave"], ["show", "wave", f"--store={root}"]):
        assert main(arguments) == 0
        assert json.loads(capsys.readouterr().out)["name"] == "wave"
    assert main(["--store", str(tmp_path / "none"), "show", "--store", str(root), "wave"]) == 0  # the last one counts


def test_models_that_cannot_be_looked_into_are_told_beside_the_others(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "night").symlink_to("x" * 300)  # even to look is an error
    for command in ("list", "verify"):
        assert run(root, command) == 1
        printed = capsys.readouterr()
        assert "wave@2" in printed.out
        assert printed.err.startswith("error: night: ")
        assert "File name too long" in printed.err


def test_list_warns_of_what_is_no_model(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "mosaic.pth").touch()
    assert run(root, "list") == 0
    printed = capsys.readouterr()
    assert printed.err.startswith("warning: 'mosaic.pth' is no model and ignored: a store holds ")
    assert "wave@2" in printed.out


def test_show_prints_the_manifest(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "show", "wave", "1") == 0
    assert json.loads(capsys.readouterr().out)["version"] == 1


def test_card_prints_the_model_card(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "card", "wave", "1") == 0
    assert capsys.readouterr().out == (root / "wave/1/README.md").read_text()
    assert run(root, "card", "waves") == 1
    assert "no model 'waves'" in capsys.readouterr().err


def test_verify_checks_all_and_fails_on_a_changed_file(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "verify") == 0
    (root / "wave/2/weights.safetensors").write_bytes(b"")
    assert run(root, "verify", "wave") == 1
    assert "wave@2" in capsys.readouterr().err
    assert run(root, "verify", "wave", "1") == 0


@pytest.mark.parametrize("command", ["list", "verify"])
def test_a_broken_model_does_not_hide_the_others(root: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    ModelStore(root).publish(network("c3s1-4,c3s1-3"), Draft(name="aurora", task="style"))
    (root / "aurora/1/manifest.json").write_text("{")
    assert run(root, command) == 1
    printed = capsys.readouterr()
    assert "wave@2" in printed.out
    assert printed.err.startswith("error: aurora@1: unreadable manifest.json")


@pytest.mark.parametrize("command", ["list", "verify"])
def test_a_store_that_does_not_exist_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert run(tmp_path / "absent", command) == 1
    told = capsys.readouterr().err
    assert "absent is no folder" in told
    assert told.endswith("a folder, a URL, or shipped\n")


def test_nothing_to_verify_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "verify") == 1
    assert "holds no models" in capsys.readouterr().err


def test_nothing_to_mirror_is_an_error_that_names_what_is_there(
    root: Path, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    target = tmp_path_factory.mktemp("out") / "copy"
    assert run(root / "wave", "mirror", str(target)) == 1  # a model of the store, not the store
    told = capsys.readouterr().err
    assert "warning: '1', '2'" in told
    assert told.endswith("wave holds no models: there is nothing to copy\n")
    assert not target.exists()


def test_rollback_and_promote(root: Path) -> None:
    assert run(root, "rollback", "wave") == 0
    assert ModelStore(root).current("wave") == 1
    assert run(root, "promote", "wave", "2") == 0
    assert ModelStore(root).current("wave") == 2
    assert run(root, "promote", "wave", "9") == 1


def test_a_version_may_be_written_as_it_is_printed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "promote", "wave@1") == 0
    assert ModelStore(root).current("wave") == 1
    assert run(root, "verify", "wave@2") == 0
    assert "wave@2: files, weights and golden output are sound" in capsys.readouterr().out
    assert run(root, "show", "wave@2") == 0
    assert json.loads(capsys.readouterr().out)["version"] == 2
    assert run(root, "card", "wave@2") == 0
    assert capsys.readouterr().out == (root / "wave/2/README.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["show", "wave@9"], "no version 9 of 'wave'; there are: [1, 2]"),
        (["show", "wave@0"], "no version 0 of 'wave'; there are: [1, 2]"),
        (["card", "wave@"], "'wave@' is no model; it is written NAME or NAME@VERSION, such as x4@3"),
        (["verify", ""], "'' is no model; it is written NAME or NAME@VERSION"),
        (["show", "wave@1", "2"], "wave@1 has a version already, and 2 is given besides; give one"),
        (["promote", "wave"], "or NAME@VERSION; of 'wave' there are [1, 2], of which 2 is current"),
        (["promote", "waves"], "no model 'waves' in "),
        (["promote", "waves", "1"], "there are: wave"),
        (["rollback", "wave@1"], "rollback takes NAME alone"),
    ],
)
def test_what_names_no_version_is_told_what_does(
    root: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert run(root, *arguments) == 1
    assert told in capsys.readouterr().err


def test_a_store_that_cannot_be_written_is_an_error_in_one_line(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(FastNeuralStyle().state_dict(), root / "mosaic.pth")

    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "mkstemp", read_only)
    monkeypatch.setattr(tempfile, "mkdtemp", read_only)
    importing = ["import", str(root / "mosaic.pth"), "--name", "mosaic", "--license", "CC0-1.0"]
    for case in (["promote", "wave", "1"], ["rollback", "wave"]):
        assert run(root, *case) == 1
        assert capsys.readouterr().err == f"error: {root}/wave/current: Read-only file system\n"
    monkeypatch.setattr("model_store.main.import_checkpoint", None)  # the file is not read before
    (root / "file").touch()
    for store, why in ((root, "Read-only file system"), (root / "file", "Not a directory")):
        assert run(store, *importing) == 1
        assert capsys.readouterr().err == f"error: --store {store} cannot be written: {why}: {store}/mosaic\n"


@pytest.mark.parametrize(
    "command",
    [
        ["import", "{root}/mosaic.pth", "--name", "mosaic"],
        ["export", "wave", "--to", "safetensors", "--out", "{out}/wave.safetensors"],
        ["export", "wave", "--to", "hub", "--out", "{out}/hub"],
        ["mirror", "{out}/mirror"],
        ["verify"],
    ],
)
def test_ctrl_c_ends_a_command_in_one_line_and_leaves_nothing(
    root: Path,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
) -> None:
    torch.save(FastNeuralStyle().state_dict(), root / "mosaic.pth")
    out = tmp_path_factory.mktemp("out")
    before = sorted(root.rglob("*"))

    def interrupt(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Golden, "check", interrupt)
    monkeypatch.setattr(os, "fsync", interrupt)
    assert run(root, *(part.format(root=root, out=out) for part in command)) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert (sorted(root.rglob("*")), list(out.iterdir())) == (before, [])


@pytest.mark.parametrize("command", [["--store", "{url}", "list"], ["mirror", "{url}"]])
def test_a_url_with_a_password_is_refused_without_showing_it(
    capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([part.format(url="s3://me:secret@bucket/models") for part in command])
    told = capsys.readouterr().err
    assert "credentials come from the environment" in told
    assert "secret" not in told


def test_the_shipped_networks_have_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--store", "shipped", "list"]) == 0
    assert "great-wave@" in capsys.readouterr().out


def test_import_publishes_a_checkpoint_and_says_how_it_was_understood(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(FastNeuralStyle().state_dict(), tmp_path / "mosaic.pth")
    arguments = ["import", str(tmp_path / "mosaic.pth"), "--name", "mosaic", "--title", "Mosaic"]
    assert run(tmp_path / "models", *arguments, "--license", "BSD-3-Clause") == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("mosaic@1 is current: pytorch/examples fast_neural_style, ×1, ")
    assert "pixels: RGB, 0 to 255" in printed.out
    assert printed.err == ""
    assert ModelStore(tmp_path / "models").manifest("mosaic").license == "BSD-3-Clause"
    assert run(tmp_path / "models", *arguments) == 0
    assert "mosaic@2 states no licence; --license" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["9" * 5000, "\u0663", "-1", "x"])
def test_what_is_no_number_of_a_version_is_said_in_one_line(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], number: str
) -> None:
    assert run(root, "export", f"wave@{number}", "--to", "safetensors", "--out", str(tmp_path / "out")) == 1
    assert "is no model; it is written NAME or NAME@VERSION" in capsys.readouterr().err
    for command in ("promote", "show", "card", "verify"):
        with pytest.raises(SystemExit) as refused:
            run(root, command, "wave", "--", number)
        assert refused.value.code == 2
        assert len(capsys.readouterr().err.splitlines()[-1]) < 200


def test_export_writes_a_version_and_says_what_it_is(
    root: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path_factory.mktemp("exported") / "wave.safetensors"
    assert run(root, "export", "wave@1", "--to", "safetensors", "--out", str(out)) == 0
    assert capsys.readouterr().out.startswith(f"wave@1 is written to {out}: the weights with their manifest")
    assert run(root, "export", "wave", "--to", "safetensors", "--out", str(out)) == 1
    assert "exists already" in capsys.readouterr().err
    assert run(root, "import", str(out), "--name", "billow") == 0
    assert capsys.readouterr().out.startswith("billow@1 is current: exported by Pastiche, ×1, ")


def test_export_refuses_what_is_no_model(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for model in ("wave@one", "wave@", "@1", "wave@-1", "wave@" + "9" * 5000):
        assert run(root, "export", model, "--to", "pt2", "--out", str(root / "x")) == 1
        assert f"{model[:80]!r} is no model; it is written NAME or NAME@VERSION" in capsys.readouterr().err
    assert run(root, "export", "waves", "--to", "pt2", "--out", str(root / "x")) == 1
    assert "no model 'waves'" in capsys.readouterr().err


def test_import_refuses_names_and_files_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"weight": torch.ones(1)}, tmp_path / "odd.pth")
    assert run(tmp_path / "models", "import", str(tmp_path / "odd.pth"), "--name", "My Model") == 1
    assert "'My Model' is no name of a model; expected up to 64 small letters" in capsys.readouterr().err
    assert run(tmp_path / "models", "import", str(tmp_path / "odd.pth"), "--name", "odd") == 1
    assert "error: odd.pth: of the layouts of style networks" in capsys.readouterr().err
    assert run(tmp_path / "models", "import", str(tmp_path / "absent.pth"), "--name", "odd") == 1
    assert "cannot be read: No such file" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--title", "--license", "--author", "--source"])
def test_import_refuses_labels_that_a_manifest_cannot_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path / "models", "import", "any.pth", "--name", "odd", option, os.fsdecode(b"caf\xe9"))
    assert f"argument {option}: 'caf\\udce9' is not UTF-8" in capsys.readouterr().err


def test_mirror_copies_a_store_to_a_url_that_the_other_commands_take(
    root: Path,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    monkeypatch.setenv("HOME", str(outside / "home"))  # of the cache
    url = f"file://{outside}/site"
    assert run(root, "mirror", url) == 0
    first = capsys.readouterr().out
    assert "added: none" not in first
    assert run(root, "mirror", url) == 0
    assert "added: none" in capsys.readouterr().out
    assert main(["--store", url, "verify"]) == 0
    left = outside / "site" / "wave" / "3" / "weights.safetensors"
    left.parent.mkdir()
    left.write_bytes(b"of a publisher that was killed")
    assert main(["--store", url, "prune", "--delete"]) == 0
    assert "0 files" in capsys.readouterr().out
    os.utime(left, (0, 0))
    assert main(["--store", url, "prune"]) == 0
    assert "wave/3/weights.safetensors  30 bytes\n1 files" in capsys.readouterr().out
    assert main(["--store", url, "prune", "--delete"]) == 0
    assert (left.exists(), main(["--store", url, "verify"])) == (False, 0)
    assert run(root, "prune") == 1
    assert "is a folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--store", url, "prune", "--hours", "0.5"])
    assert "'0.5' is no number of hours from 1 on" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    assert main(["--store", "gs://bucket/models", "list"]) == 1
    assert "error: a store at gs:// needs the extra stores-gs" in capsys.readouterr().err


def test_a_tilde_is_the_home_folder_also_after_an_equals_sign(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(root))
    (root / "models").symlink_to(root)
    assert main(["--store=~/models", "export", "wave", "--to=safetensors", "--out=~/wave.safetensors"]) == 0
    assert (root / "wave.safetensors").is_file()
    assert main(["--store=~/models", "import", "~/none.pth", "--name=other"]) == 1
    assert f"{root}/none.pth" in capsys.readouterr().err
