import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.servers import reserved_port
from tests.trainer.two_ranks import config_of, learn
from trainer.errors import RankLost, TrainerError
from trainer.ranks import Ranks, device_of_rank, joined, mean_over_ranks
from trainer.run_folder import Run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes have trained together until the second ended."""
    folder = tmp_path_factory.mktemp("ranks")
    with reserved_port() as port:
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.trainer.two_ranks", str(folder)]
        started = [subprocess.Popen(command, cwd=ROOT, env=os.environ | address | {"RANK": rank}) for rank in "01"]
        assert [process.wait(timeout=300) for process in started] == [0, 7]
    return folder


def found_by_first(pair: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((pair / "0.json").read_text())
    return found


def test_two_processes_learn_what_one_learns_from_the_whole_batch(pair: Path, tmp_path: Path) -> None:
    learn(config_of(tmp_path, steps=1), Ranks())
    one, two = (Run(folder / "run").load() for folder in (tmp_path, pair / "of-0/first"))
    gradients = [  # after one step, a tenth of it
        torch.cat([values["exp_avg"].flatten() for values in state["optimizer"]["state"].values()])
        for state in (one, two)
    ]
    assert torch.allclose(gradients[1], gradients[0], rtol=1e-3, atol=1e-5 * float(gradients[0].abs().max()))
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-4)


def test_both_processes_have_the_same_weights_and_the_first_alone_writes(pair: Path) -> None:
    assert found_by_first(pair)["same weights"]
    assert {path.name for path in (pair / "of-0/whole/run").iterdir()} >= {"state.pt", "metrics.jsonl", "config.json"}
    assert not (pair / "of-1/whole/run").exists()


def test_a_resumed_run_of_two_processes_equals_an_uninterrupted_one(pair: Path) -> None:
    whole, resumed = (Run(pair / "of-0" / name / "run").load() for name in ("whole", "parts"))
    assert resumed["step"] == 6
    assert all(torch.equal(resumed["network"][name], weight) for name, weight in whole["network"].items())
    lines = (pair / "of-0/parts/run/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4, 6]


def test_a_flag_of_one_process_reaches_all(pair: Path) -> None:
    assert found_by_first(pair)["any"] == [True, False]


def test_a_batch_that_cannot_be_divided_is_refused(pair: Path) -> None:
    assert str(found_by_first(pair)["indivisible"]).startswith("--batch 3 cannot be divided among 2 processes;")
    with pytest.raises(TrainerError, match=r"in 2 parts each \(--accumulate\).* a multiple of 4"):
        Ranks(0, 2).check(6, 2)


def test_the_end_of_a_process_ends_the_others_in_words_and_leaves_the_saved_state(pair: Path) -> None:
    assert str(found_by_first(pair)["lost"]).startswith("process 0 of 2: another process of this training has ended")
    assert Run(pair / "of-0/lost/run").load()["step"] == 2


def test_parts_of_a_batch_are_all_of_it_in_order() -> None:
    assert [place for rank in range(3) for place in Ranks(rank, 3).part(12)] == list(range(12))


def test_one_process_exchanges_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    statistic = torch.ones(2)
    with joined(torch.device("cpu")) as ranks:
        assert ranks == Ranks(0, 1)
        ranks.average([statistic])
        assert mean_over_ranks(statistic) is statistic
        assert ranks.from_first(lambda: 5) == 5


def test_other_errors_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not issubclass(RuntimeError, RankLost)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(RuntimeError, match="shapes"), joined(torch.device("cpu")):
        raise RuntimeError("shapes differ")


def test_each_process_of_a_machine_has_its_device() -> None:
    machine = {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    assert device_of_rank("cpu", machine) == "cpu"
    assert device_of_rank("cuda:1", {}) == "cuda:1"
    with pytest.raises(TrainerError, match="--device cuda:1 is one GPU, and torchrun started 2 processes"):
        device_of_rank("cuda:1", machine)
    if torch.cuda.device_count() < 2:
        with pytest.raises(TrainerError, match=r"2 processes, and torch finds \d GPUs"):
            device_of_rank("cuda", machine)
    else:
        assert device_of_rank("cuda", machine) == "cuda:1"
