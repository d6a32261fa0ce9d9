"""A batch on a Ray cluster of several nodes, all of them on this machine."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from fated import Fated
from partranscribe.batch import run
from partranscribe.cli import main
from partranscribe.errors import AudioError, ClusterError
from partranscribe.manifest import NAME
from partranscribe.plan import plan
from partranscribe.remote import location
from partranscribe.work import Outcome, Watcher
from partranscribe.workers import WorkerError
from synth import recording

ray = pytest.importorskip("ray", reason="Ray is not installed")

from ray.cluster_utils import Cluster as Nodes  # noqa: E402

from partranscribe import cluster as module  # noqa: E402
from partranscribe.cluster import Actor, Cluster, Task  # noqa: E402

MEMORY = 80 * 2**20

pytestmark = pytest.mark.filterwarnings(
    "ignore:a worker was warned",
    "ignore:no process on the cluster has begun yet",
    "ignore::pytest.PytestUnraisableExceptionWarning",  # Ray leaves its logs open
)
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A head that computes nothing, and one node with a core; more can be added."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *sys.path]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")
        head = {"num_cpus": 0, "object_store_memory": MEMORY, "include_dashboard": False}
        nodes = Nodes(initialize_head=True, head_node_args=head)
        nodes.add_node(num_cpus=1, object_store_memory=MEMORY)
        yield nodes
        nodes.shutdown()  # type: ignore[no-untyped-call]


@pytest.fixture
def cluster(nodes: Nodes) -> Cluster:
    return Cluster(nodes.address)


@pytest.fixture
def fated(tiny_checkpoint: Path) -> Fated:
    return Fated(model=str(tiny_checkpoint), device="cpu")


def songs(folder: Path, names: str, seconds: float = 1.5) -> Path:
    """A folder of recordings, each with a letter for a name."""
    for seed, name in enumerate(names):
        recording(folder / f"{name}.wav", seconds, seed)
    return folder


def entered(folder: Path) -> list[str]:
    """The keys of all lines of a manifest, sorted."""
    return sorted(json.loads(line)["key"] for line in (folder / NAME).read_text("utf-8").splitlines())


def contents(folder: Path) -> dict[str, bytes]:
    """All outputs, by their names."""
    return {path.name: path.read_bytes() for path in folder.glob("*.mid")}


def test_a_cluster_does_what_this_machine_does(tmp_path: Path, fated: Fated, cluster: Cluster) -> None:
    songs(tmp_path / "in", "abc")
    (tmp_path / "in/d.wav").write_text("not a recording")
    here = run(plan([tmp_path / "in"], tmp_path / "here"), fated, processes=0)
    with pytest.warns(UserWarning, match="a worker was warned"):
        there = run(plan([tmp_path / "in"], tmp_path / "there"), fated, cluster=cluster)
    assert [outcome.notes for outcome in there.outcomes] == [outcome.notes for outcome in here.outcomes]
    assert isinstance(there.outcomes[3].error, AudioError)
    assert contents(tmp_path / "there") == contents(tmp_path / "here") != {}
    again = run(plan([tmp_path / "in"], tmp_path / "there"), fated, cluster=cluster)
    assert [outcome.kept for outcome in again.outcomes] == [*["done before"] * 3, ""]


def test_the_command_line_takes_the_address(tmp_path: Path, fated: Fated, cluster: Cluster) -> None:
    sources, out = songs(tmp_path / "in", "ab"), tmp_path / "out"
    options = ["--model", fated.model, "--ray", cluster.address, "--report", str(tmp_path / "report.json")]
    result = CliRunner().invoke(main, [str(sources), "-o", str(out), *options])
    assert result.exit_code == 0, result.output
    assert "2 done" in result.stdout
    assert entered(out) == ["a", "b"]
    assert json.loads((tmp_path / "report.json").read_text())["counts"] == {"done": 2}


def test_a_cluster_reads_and_writes_behind_urls(tmp_path: Path, fated: Fated, cluster: Cluster) -> None:
    pytest.importorskip("upath", reason="universal-pathlib is not installed")
    songs(tmp_path / "in", "ab")
    run(plan([tmp_path / "in"], tmp_path / "here"), fated, processes=0)
    jobs = plan([location(f"{tmp_path.as_uri()}/in")], location(f"{tmp_path.as_uri()}/out"))
    with pytest.warns(UserWarning, match="a worker was warned"):
        result = run(jobs, fated, cluster=cluster)
    assert [outcome.error for outcome in result.outcomes] == [None, None]
    assert contents(tmp_path / "out") == contents(tmp_path / "here") != {}
    assert entered(tmp_path / "out") == ["a", "b"]


def test_a_recording_that_ends_its_process_is_named(
    tmp_path: Path, fated: Fated, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRIES", 0)
    jobs = plan([songs(tmp_path / "in", "abc")], tmp_path / "out")
    fates = (("a.wav", "killed once"), ("b.wav", "killed"))
    first, second, third = run(jobs, replace(fated, fates=fates), cluster=cluster).outcomes
    assert (first.error, third.error) == (None, None)
    assert isinstance(second.error, WorkerError)
    assert str(second.error).startswith(f"{jobs[1].source}: the processes at work on it were lost")
    assert entered(tmp_path / "out") == ["a", "c"]


def test_a_recording_that_hangs_is_given_up(
    tmp_path: Path, fated: Fated, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRIES", 0)
    jobs = plan([songs(tmp_path / "in", "ab")], tmp_path / "out")
    fated = replace(fated, fates=(("a.wav", "hung"),))
    first, second = run(jobs, fated, cluster=cluster, time_limit=8.0).outcomes
    assert isinstance(first.error, WorkerError)
    assert second.error is None


def test_a_node_that_is_lost_half_way_loses_nothing(
    tmp_path: Path, fated: Fated, cluster: Cluster, nodes: Nodes
) -> None:
    second = nodes.add_node(num_cpus=1, object_store_memory=MEMORY)
    letters = "abcdefghij"
    songs(tmp_path / "in", letters, 4.0)
    undisturbed = run(plan([tmp_path / "in"], tmp_path / "here"), fated, processes=0)

    class Remover(Watcher):
        def __init__(self) -> None:
            self.done: list[str] = []

        def finished(self, outcome: Outcome) -> None:
            self.done.append(outcome.job.name)
            if len(self.done) == 3:
                nodes.remove_node(second, allow_graceful=False)

    remover = Remover()
    result = run(plan([tmp_path / "in"], tmp_path / "out"), fated, remover, cluster=cluster)
    assert [outcome.error for outcome in result.outcomes] == [None] * len(letters)
    assert [outcome.notes for outcome in result.outcomes] == [one.notes for one in undisturbed.outcomes]
    assert sorted(remover.done) == [f"{letter}.wav" for letter in letters]
    assert entered(tmp_path / "out") == list(letters)
    assert contents(tmp_path / "out") == contents(tmp_path / "here")


def test_what_was_done_when_an_actor_was_lost_is_not_done_again(
    tmp_path: Path, fated: Fated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # as the actor does
    jobs = plan([songs(tmp_path / "in", "ab")], tmp_path / "out")
    tasks = [Task(job, None) for job in jobs]
    before = Actor(fated, 1, 60.0, tmp_path).do(tasks[:1])
    again = Actor(fated, 1, 60.0, tmp_path).do(tasks)
    (first,) = before.outcomes
    assert again.outcomes[0] == replace(first, seconds=round(first.seconds, 3))
    assert entered(tmp_path / "out") == ["a", "b"]


def test_a_model_that_cannot_be_loaded_ends_the_batch(
    tmp_path: Path, fated: Fated, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRIES", 0)
    monkeypatch.setattr(module, "_FALSE_STARTS", 1)
    jobs = plan([songs(tmp_path / "in", "a")], tmp_path / "out")
    with pytest.raises(ClusterError, match="no process can be started there"):
        run(jobs, replace(fated, fates=(("", "killed"),)), cluster=cluster)


def test_a_cluster_that_is_not_there_is_told_at_once(tmp_path: Path, fated: Fated) -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ClusterError, match=f"{address}: no Ray cluster answers there"):
        run(plan([songs(tmp_path / "in", "a")], tmp_path / "out"), fated, cluster=Cluster(address))
