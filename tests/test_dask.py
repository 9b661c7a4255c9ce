"""The engine ``dask``, on a real scheduler and real workers: same answer, same policy, nothing lost or doubled."""

from __future__ import annotations

import glob
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from clusters import Cluster, wait_until
from conftest import files_below
from naps import NOTES
from perils import Hurried, Perilous, Perils, Stubborn, Together, Unprepared, read

import luisy_dir as luisy
from luisy_dir import errors
from luisy_dir.demo import PIPELINE, RAW, set_up
from luisy_dir.engines import cluster as clusters
from luisy_dir.engines import memory_of
from luisy_dir.engines.cluster import DaskExecutor
from luisy_dir.engines.mapping import map_unordered
from luisy_dir.manifest import read_manifest
from luisy_dir.resources import usable_memory

SOON_SECONDS = 60
IMAGES = 48
PACKAGE = os.path.dirname(luisy.__file__)


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A scheduler and two workers, which were started in a folder of their own and know nothing of the tests."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="1")
    yield cluster
    cluster.close()


@pytest.fixture
def cluster(started, monkeypatch):
    """The same, whole again after whatever an earlier test has done to it; tasks run on it."""
    started.fill()
    monkeypatch.setenv("LUISY_DIR_ENGINE", "dask")
    monkeypatch.setenv("LUISY_DIR_DASK_ADDRESS", started.address)
    return started


@pytest.fixture
def notes(tmp_path_factory, monkeypatch):
    """What items and workers have noted: ``notes("begun")`` are the lines under that name."""
    folder = tmp_path_factory.mktemp("notes")
    monkeypatch.setenv(NOTES, str(folder))

    def lines(name):
        path = folder / name
        return path.read_text().splitlines() if path.exists() else []

    return lines


@pytest.fixture
def fill(write_files):
    """``fill({"07": "kill"}, 20)`` makes 20 files with plain words, but for those that are given."""

    def make(perils, count=0, *, word="word"):
        texts = {f"{number:03d}": f"{word} {number}" for number in range(count)} | perils
        write_files(Perils().output().path, {f"{key}.txt": text.encode() for key, text in texts.items()})
        return texts

    return make


def check(task, texts, lost=()):
    """All but the lost items are there, each as it should be, each recorded once; nothing else is."""
    found, directory = list(task.output().manifest().entries()), task.output().path
    assert [entry.key for entry in found] == sorted(texts)
    assert {entry.key for entry in found if entry.status != "written"} == set(lost)
    assert {path: read(os.path.join(directory, path)) for path in files_below(directory)} == {
        f"{key}.txt": text.upper() for key, text in texts.items() if key not in lost
    }
    assert task.output().verify(deep=True).is_whole
    assert task.complete()
    assert not glob.glob(f"{os.path.dirname(directory)}/.*.staging")
    return {entry.key: entry for entry in found}


def luigi(*arguments, cwd, **environment):
    """A command line that was started; whoever starts it waits for its end."""
    return subprocess.Popen(
        [sys.executable, "-m", "luigi", *arguments, "--local-scheduler", "--no-lock"],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": os.path.dirname(__file__)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(process, code=0):
    """What it has printed."""
    said, _ = process.communicate(timeout=60)
    assert process.returncode == code, said
    return said


def journaled(folder):
    """Numbers of lines in the journals of the runs below a folder, by journal."""
    found = glob.glob(f"{folder}/.*.staging/run-*/journal-*")
    return {path: read(path).count("\n") for path in found}


# -- the item in hand -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peril", "kind", "message"),
    [
        ("exit", "WorkerDied", "the worker ended with exit code 3, while it had this item in hand"),
        ("kill", "WorkerDied", "the worker was killed by SIGKILL, perhaps for its memory, while it had this item in"),
        ("segfault", "WorkerDied", "the worker was ended by SIGSEGV, while it had this item in hand"),
        ("sleep", "Timeout", "it took longer than the 1 s that timeout allows, and its worker was killed"),
        ("loop", "Timeout", "it took longer than the 1 s that timeout allows, and its worker was killed"),
    ],
)
def test_an_item_that_ends_its_process_or_never_ends_costs_itself_alone(cluster, fill, notes, peril, kind, message):
    """29 of 30 are written, the cause is told, the Dask workers live on, and no process is left on the cluster."""
    workers = [worker.pid for worker in cluster.workers]
    texts = fill({"005": peril}, 30)

    Hurried().run()

    lost = check(Hurried(), texts, {"005"})["005"]
    assert lost.error.type == kind
    assert lost.error.message.startswith(message)
    times = Counter(line.split()[0] for line in notes("begun"))
    assert times.pop("005") == 1
    assert max(times.values()) <= 2  # others of the chunk were not on the disk yet
    assert [worker.pid for worker in cluster.workers if worker.poll() is None] == workers
    children = {int(line.split()[1]) for line in notes("begun")}
    wait_until(lambda: not children & cluster.processes())


def test_it_is_tried_as_often_as_retries_says(cluster, fill, notes):
    texts = fill({"005": "kill"}, 12)
    Stubborn().run()
    check(Stubborn(), texts, {"005"})
    found = {entry.key: entry.attempts for entry in Stubborn().output().manifest().entries()}
    assert found["005"] == 3
    assert set(found.values()) == {1, 3}


def test_among_items_that_are_processed_together_it_is_found_by_halves(cluster, fill, notes):
    texts = fill({"005": "exit"}, 20)
    Together().run()
    check(Together(), texts, {"005"})


def test_no_more_items_are_in_hand_than_fit_into_memory(cluster, fill, notes, monkeypatch):
    monkeypatch.setattr(Perilous, "item_memory", 600, raising=False)
    monkeypatch.setenv("LUISY_DIR_MEMORY", "1000")
    fill({f"{number:03d}": "nap 0.05" for number in range(12)})
    Perilous().run()
    entries = sorted(Perilous().output().manifest().entries(), key=lambda entry: entry.started)
    ends = [entry.started + timedelta(seconds=entry.seconds) for entry in entries]
    assert all(end <= after.started for end, after in zip(ends, entries[1:], strict=False))
    assert all(entry.peak_memory for entry in entries)


def test_a_fraction_of_memory_is_of_the_machine_that_has_the_least(cluster, monkeypatch):
    with DaskExecutor(None, address=cluster.address) as executor:
        assert 0.5 < executor.least_memory() / usable_memory() < 2
        monkeypatch.setattr(executor._client, "run", lambda *_, **__: {"a": 3000, "b": 1000, "c": 2000})
        assert memory_of(executor)() == 1000


def test_workers_that_die_before_they_have_an_item_end_the_run(cluster, fill, notes):
    fill({}, 6)
    with pytest.raises(errors.WorkerDiedError, match="3 worker processes in a row have died before they had an item"):
        Unprepared().run()


def test_an_item_that_takes_its_machine_with_it_is_named(cluster, fill, notes):
    """The Dask worker itself dies of it each time; Dask gives the task up at the second one, as this one is set up."""
    texts = fill({"005": "machine"}, 12)

    Perilous().run()

    lost = check(Perilous(), texts, {"005"})["005"]
    assert lost.error.type == "WorkerDied"
    assert "and 1 others that came after it died without a word" in lost.error.message


# -- workers that are taken away --------------------------------------------------------------------------------------


def kill_on_the_way(cluster, interim):
    wait_until(lambda: sum(journaled(interim).values()) > 12, "a dozen entries")
    cluster.kill(cluster.workers[0])
    assert sum(journaled(interim).values()) < IMAGES


def test_the_demo_is_the_same_on_serial_on_processes_and_on_a_cluster_that_loses_a_worker(cluster, tmp_path):
    """Byte by byte, with the same manifest; and the items that the lost worker had in hand are recorded once."""
    folders = {}
    for engine in ("serial", "processes", "dask"):
        folder = folders[engine] = str(tmp_path / engine)
        set_up(folder, IMAGES)
        if engine != "serial":
            shutil.rmtree(os.path.join(folder, RAW))
            shutil.copytree(os.path.join(folders["serial"], RAW), os.path.join(folder, RAW))
        pipeline = os.path.join(folder, PIPELINE)
        text = read(pipeline).replace(
            "        return image\n",
            "        import os, time\n        time.sleep(float(os.environ['LUISY_DIR_NAP']))\n        return image\n",
        )
        with open(pipeline, "w") as file:
            file.write(text)
        environment = {"PYTHONPATH": folder, "LUISY_DIR_ENGINE": engine, "LUISY_DIR_NAP": "0"}
        environment |= {"LUISY_DIR_NAP": "0.08", "LUIGI_CONFIG_PATH": "luigi.cfg"} if engine == "dask" else {}
        process = luigi("--module", "red_channel", "RedChannel", cwd=folder, **environment)
        if engine == "dask":
            kill_on_the_way(cluster, f"{folder}/red_channel/interim")
        assert "This progress looks :)" in finished(process)

    for result in ("interim/ToNumpy", "final/RedChannel"):
        directories = {engine: f"{folder}/red_channel/{result}" for engine, folder in folders.items()}
        contents = {
            engine: {name: Path(directory, name).read_bytes() for name in files_below(directory)}
            for engine, directory in directories.items()
        }
        assert contents["dask"] == contents["processes"] == contents["serial"]
        assert len(contents["serial"]) == IMAGES
        manifests = {engine: read_manifest(directory) for engine, directory in directories.items()}
        assert manifests["dask"].same_as(manifests["serial"])
        assert manifests["dask"].same_as(manifests["processes"])


def test_what_a_lost_worker_had_finished_and_not_handed_over_is_done_again_and_recorded_once(cluster, fill, notes):
    texts = fill({"030": "nap 2"}, 60, word="nap 0.05")
    thread = threading.Thread(target=Perilous().run)
    thread.start()
    wait_until(lambda: any(line.startswith("030 ") for line in notes("begun")))
    child = next(int(line.split()[1]) for line in notes("begun") if line.startswith("030 "))
    cluster.kill(next(worker for worker in cluster.workers if worker.pid == os.getpgid(child)))  # it has that in hand
    thread.join()

    check(Perilous(), texts)
    times = Counter(line.split()[0] for line in notes("begun"))
    assert set(times) == set(texts)
    assert max(times.values()) == 2


def test_a_worker_that_is_taken_for_lost_and_goes_on_writing_harms_nothing(tmp_path_factory, fill, notes, monkeypatch):
    """As one that could not be reached for a while: its items were done elsewhere, and it does not know."""
    monkeypatch.setenv("LUISY_DIR_ENGINE", "dask")
    texts = fill({}, 60, word="nap 0.05")
    folder = tmp_path_factory.mktemp("torn")
    with closing(Cluster(folder, has_nannies=False, DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL="3s")) as cluster:
        monkeypatch.setenv("LUISY_DIR_DASK_ADDRESS", cluster.address)
        thread = threading.Thread(target=Perilous().run)
        thread.start()
        wait_until(lambda: len({line.split()[1] for line in notes("begun")}) == 2)
        cluster.signal(cluster.workers[0], signal.SIGSTOP)
        thread.join()
        begun = len(notes("begun"))
        children = {int(line.split()[1]) for line in notes("begun")}
        cluster.signal(cluster.workers[0], signal.SIGCONT)
        wait_until(lambda: not children & cluster.processes())
    assert len(notes("begun")) >= begun
    check(Perilous(), texts)


def given_up(is_time, act, message):
    """The error with which a run ends when this is done on the way."""
    caught = []

    def run():
        with pytest.raises(errors.WorkerDiedError, match=message) as error:
            Perilous().run()
        caught.append(error.value)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(is_time)
    act()
    thread.join()
    return caught[0]


def test_a_cluster_that_has_no_workers_any_more_ends_the_run_and_what_was_finished_is_kept(
    cluster, fill, notes, monkeypatch
):
    monkeypatch.setattr(clusters, "_WORKERS_SECONDS", 2.0)
    fill({}, 60, word="nap 0.1")

    given_up(
        lambda: len(notes("begun")) > 10,
        lambda: [cluster.kill(worker) for worker in list(cluster.workers)],
        "has had no workers for 2 seconds.*what was finished is kept",
    )

    assert Perilous().plan().finished


def test_a_scheduler_that_ends_is_told_of(tmp_path_factory, fill, notes, monkeypatch):
    monkeypatch.setattr(clusters, "_CONNECT_SECONDS", 2.0)
    monkeypatch.setenv("LUISY_DIR_ENGINE", "dask")
    fill({}, 60, word="nap 0.1")
    with closing(Cluster(tmp_path_factory.mktemp("doomed"), workers=1)) as cluster:
        monkeypatch.setenv("LUISY_DIR_DASK_ADDRESS", cluster.address)
        error = given_up(
            lambda: len(notes("begun")) > 10, lambda: cluster.kill(cluster.scheduler), "its scheduler has ended"
        )
    assert "what was finished is kept" in str(error)


# -- a program that is taken away -------------------------------------------------------------------------------------


def luisy_working_dir():
    return os.path.dirname(os.path.dirname(Perils().get_outdir()))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_program_that_ends_leaves_nothing_running_on_the_cluster(cluster, fill, notes, number):
    """Not even an item that never ends."""
    fill({"000": "sleep", "001": "loop"}, 4)
    process = luigi("--module", "perils", "Perilous", cwd=cluster.folder, LUISY_DIR_WORKING_DIR=luisy_working_dir())
    wait_until(lambda: len(notes("begun")) == 2)
    children = {int(line.split()[1]) for line in notes("begun")}
    assert children <= cluster.processes()

    process.send_signal(number)
    process.communicate(timeout=SOON_SECONDS)

    wait_until(lambda: not children & cluster.processes())


def test_what_a_killed_program_has_finished_on_the_cluster_is_taken_over_by_the_next(cluster, fill, notes):
    """Collected or not: what lies in the folder of a worker of its own counts as well."""
    texts = fill({}, 60, word="nap 0.05")
    process = luigi("--module", "perils", "Perilous", cwd=cluster.folder, LUISY_DIR_WORKING_DIR=luisy_working_dir())
    wait_until(lambda: len(notes("begun")) > 30)
    process.kill()
    process.communicate()
    [run] = glob.glob(f"{os.path.dirname(Perilous().output().path)}/.*.staging/run-*")
    apart = {os.path.basename(path) for path in glob.glob(f"{run}/files-*/*.txt")}
    done = Perilous().plan().finished

    Perilous().run()

    check(Perilous(), texts)
    times = Counter(line.split()[0] for line in notes("begun"))
    assert len(done) > 20
    assert {times[key] for key in done} == {1}
    assert {name[:-4] for name in apart} & done


# -- where it cannot work ---------------------------------------------------------------------------------------------


def test_nobody_at_the_address_is_an_error(fill, monkeypatch):
    monkeypatch.setattr(clusters, "_CONNECT_SECONDS", 0.5)
    monkeypatch.setenv("LUISY_DIR_ENGINE", "dask")
    monkeypatch.setenv("LUISY_DIR_DASK_ADDRESS", "tcp://127.0.0.1:9")
    fill({}, 1)
    with pytest.raises(errors.SettingError, match=r"No Dask scheduler answers at 'tcp://127\.0\.0\.1:9'"):
        Perilous().run()


def test_a_cluster_without_workers_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(clusters, "_WORKERS_SECONDS", 0.5)
    with (
        closing(Cluster(tmp_path, workers=0)) as empty,
        pytest.raises(errors.SettingError, match=f"dask worker {empty.address}"),
    ):
        DaskExecutor(address=empty.address)


@pytest.fixture
def odd_worker(cluster, tmp_path):
    """``odd_worker(PYTHON)`` starts one more worker, in whose processes this runs first."""

    def start(code, **environment):
        (tmp_path / "odd").mkdir()
        (tmp_path / "odd" / "sitecustomize.py").write_text(code)
        worker = cluster.start_worker(PYTHONPATH=str(tmp_path / "odd"), **environment)
        cluster.wait_for(3)
        started.append(worker)

    started = []
    yield start
    for worker in started:
        cluster.kill(worker)


def test_a_worker_that_does_not_see_the_working_directory_is_named_before_any_work_is_done(
    cluster, odd_worker, fill, notes, working_dir
):
    odd_worker(
        "import os.path\nisdir = os.path.isdir\n"
        f"os.path.isdir = lambda path: not str(path).startswith({str(working_dir)!r}) and isdir(path)\n"
        "import socket\nsocket.gethostname = lambda: 'far-away'\n"
    )
    fill({}, 6)
    with pytest.raises(errors.StorageError, match="Workers on 'far-away' do not see"):
        Perilous().run()
    assert notes("begun") == []


def test_a_worker_with_another_version_is_named_with_both(cluster, odd_worker, tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "odd" / "luisy_dir", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.move(tmp_path / "odd", tmp_path / "copy")
    init = tmp_path / "copy" / "luisy_dir" / "__init__.py"
    init.write_text(init.read_text().replace(luisy.__version__, "0.0.7"))
    odd_worker(f"import sys\nsys.path.insert(0, {str(tmp_path / 'copy')!r})\n")
    with pytest.raises(
        errors.SettingError, match=rf"luisy_dir 0.0.7, but this program .*luisy_dir {luisy.__version__}"
    ):
        DaskExecutor(address=cluster.address)


def test_a_worker_without_the_package_is_named(cluster, odd_worker):
    odd_worker("import sys\nsys.modules['luisy_dir'] = None\n")
    with pytest.raises(
        errors.SettingError, match=f"cannot work for this program.*Install luisy_dir {luisy.__version__}"
    ):
        DaskExecutor(address=cluster.address)


# -- the map ----------------------------------------------------------------------------------------------------------


def nap_a_little(number):
    time.sleep(0.005)
    return number


def test_a_map_goes_on_when_a_worker_is_taken_away(cluster):
    """And yields each result once."""
    found = []
    with DaskExecutor(address=cluster.address) as executor:
        assert executor.workers == 2
        with closing(map_unordered(executor, nap_a_little, range(600), workers=2)) as results:
            for result in results:
                found.append(result)
                if len(found) == 50:
                    cluster.kill(cluster.workers[0])
    assert sorted(found) == list(range(600))


def test_many_things_make_one_task_of_dask(cluster):
    with DaskExecutor(address=cluster.address) as executor:
        with closing(map_unordered(executor, str, range(20_000), workers=2)) as results:
            assert sum(1 for _ in results) == 20_000
        assert next(executor._numbers) < 100


def test_what_a_worker_needs_to_know_of_the_program_comes_with_the_work(cluster, tmp_path):
    """Where it was started, luigi.cfg, settings of the environment, and the name of the script; by relative paths."""
    (tmp_path / "helper.py").write_text("WORD = 'a module beside the script'\n")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.cfg").write_text(
        "[luisy_dir]\nworking_dir = here\n[mine]\nword = 50%% of luigi.cfg\n"
    )
    (tmp_path / "script.py").write_text(
        "import luigi\nimport luisy_dir as luisy\n\n"
        "class mine(luigi.Config):\n    word = luigi.Parameter()\n\n"
        "@luisy.make_directory_output(lambda path: path)\n@luisy.raw\nclass Words(luisy.ExternalTask):\n"
        "    def get_folder_name(self):\n        return 'words'\n\n"
        "@luisy.interim\n@luisy.requires(Words)\n@luisy.directory_output('.json')\nclass Told(luisy.DirectoryTask):\n"
        "    def process(self, path):\n        import helper, os\n        from luisy_dir.settings import resolve\n"
        "        return [helper.WORD, mine().word, resolve('seed', self), self.get_outdir()]\n\n"
        "if __name__ == '__main__':\n    luigi.build([Told()], local_scheduler=True, no_lock=True)\n"
    )
    raw = tmp_path / "here" / "script" / "raw" / "words"
    raw.mkdir(parents=True)
    (raw / "a.txt").write_text("a")
    environment = os.environ | {"LUIGI_CONFIG_PATH": "elsewhere/mine.cfg", "LUISY_DIR_SEED": "7"}
    subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=environment, check=True)
    interim = tmp_path / "here" / "script" / "interim"
    assert luisy.formats.read_json(str(interim / "Told" / "a.json")) == [
        "a module beside the script",
        "50% of luigi.cfg",
        7,
        str(interim),
    ]


@pytest.mark.parametrize(
    ("page", "is_shown"), [(b"<html>a dashboard</html>", True), (b"<p>Dask needs bokeh>=3", False)]
)
def test_a_dashboard_is_linked_to_where_there_is_one(page, is_shown):
    """Dask names an address even where it can show nothing there."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        shown = clusters._shows_a_page(f"http://127.0.0.1:{server.server_port}/status")
        server.shutdown()
        thread.join()
    assert shown is is_shown
    assert not clusters._shows_a_page("http://127.0.0.1:9/status")
