"""The page of a real luigid while directories are made: its API, and the page itself in a real browser."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import luigi
import pytest
from luigi.scheduler import Scheduler
from luigi.worker import Worker
from pipelines import read_text

import luisy_dir as luisy
from luisy_dir.manifest import read_manifest
from luisy_dir.scheduler_page import SchedulerPage

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRIPTS = sysconfig.get_path("scripts")
SCREENSHOTS = os.path.join(REPOSITORY, "build", "screenshots")
PAUSE = "SECONDS_A_PAGE"
HOSTILE = "<img src=x onerror='window.BROKEN=1'>"


def wait_until(look, seconds=60):
    """What ``look()`` says as soon as that is true."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)
    return seen


class Luigid:
    """A luigid on a loopback port, in a process of its own."""

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.command = [
            sys.executable,
            os.path.join(SCRIPTS, "luigid"),
            "--address",
            "127.0.0.1",
            "--port",
            str(self.port),
        ]
        self.command += ["--state-path", str(folder / "state.pickle"), "--logdir", str(folder)]
        self.clients = []
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self.answers)

    def answers(self):
        try:
            return self.ask("task_list", status="", upstream_status="") is not None
        except urllib.error.URLError:
            return False

    def ask(self, method, **data):
        query = urllib.parse.urlencode({"data": json.dumps(data)})
        with urllib.request.urlopen(f"{self.url}/api/{method}?{query}", timeout=10) as answer:
            return json.load(answer)["response"]

    def task(self, name, status):
        """What the API says of the task of that family and status, or None."""
        tasks = self.ask("task_list", status=status, upstream_status="").values()
        return next((task for task in tasks if task["name"] == name), None)

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=30)


@pytest.fixture
def luigid(tmp_path):
    folder = tmp_path / "luigid"
    folder.mkdir()
    server = Luigid(folder)
    yield server
    for process in (*server.clients, server.process):
        process.kill()
        process.wait()


def start_luigi(luigid, working_dir, *arguments):
    """Start ``luigi`` against that luigid; its log goes to a file."""
    log = working_dir / "luigi.log"
    config = working_dir / "luigi.cfg"
    with open(os.path.join(REPOSITORY, "luigi.cfg")) as shipped:
        config.write_text(shipped.read().replace("[core]", "[core]\nrpc_retry_wait = 1\nrpc_retry_attempts = 60"))
    with open(log, "w") as file:
        started = subprocess.Popen(
            [sys.executable, os.path.join(SCRIPTS, "luigi"), "--module", "test_scheduler_page", *arguments, "--no-lock",
             "--scheduler-host", "127.0.0.1", "--scheduler-port", str(luigid.port),
             "--luisy-dir-working-dir", str(working_dir)],
            env=os.environ | {"PYTHONPATH": os.path.join(REPOSITORY, "tests"), "LUIGI_CONFIG_PATH": str(config)},
            stdout=file,
            stderr=file,
        )  # fmt: skip
    luigid.clients.append(started)
    return started, log


@luisy.make_directory_output(read_text)
@luisy.raw
class Pages(luisy.ExternalTask):
    def get_folder_name(self):
        return "pages"


@luisy.interim
@luisy.requires(Pages)
@luisy.directory_output(".txt", engine="threads", workers=2, max_errors=0.5)
class Transcribed(luisy.DirectoryTask):
    """Takes its time over each page, if that is wanted; some cannot be read."""

    resources = {"disk": 1}  # noqa: RUF012 - as Luigi's users write it
    retry_count = 7
    accepts_messages = True

    def process(self, text):
        time.sleep(float(os.environ.get(PAUSE, "0")))
        if text == "fail":
            raise ValueError(f"cannot read this page {HOSTILE}")
        return text

    def get_tracking_url(self):
        return "http://127.0.0.1/dashboard"


@pytest.fixture
def pages(write_files):
    """A hundred pages, a tenth of which have hostile names and fail."""
    files = {f"{number:03d}.txt": b"text" for number in range(90)}
    files |= {f"{number:03d} {HOSTILE}.txt": b"fail" for number in range(90, 100)}
    return write_files(Pages().output().path, files)


@pytest.fixture
def slowly(monkeypatch):
    """Give others the time to look while it runs."""
    monkeypatch.setenv(PAUSE, "0.1")


class TestTheApi:
    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_its_figures_move_and_end_at_one_hundred(self, luigid, working_dir, pages, slowly, workers):
        luigi_process, log = start_luigi(luigid, working_dir, "Transcribed", "--workers", workers)
        seen = []
        while luigi_process.poll() is None:
            task = luigid.task("Transcribed", "RUNNING")
            if task is not None and task["progress_percentage"] is not None:
                seen.append((task["progress_percentage"], task["status_message"]))
            time.sleep(0.1)
        assert luigi_process.returncode == 0, log.read_text()
        percentages = [percentage for percentage, _ in seen]
        assert percentages == sorted(percentages)
        assert len({percentage for percentage in percentages if 0 < percentage < 100}) >= 2
        lines = [message for _, message in seen if message]
        assert any("of 100 items" in line and "items/s" in line and "left" in line for line in lines)
        done = luigid.task("Transcribed", "DONE")
        assert done["progress_percentage"] == 100
        assert "published 100 of 100 items, 10 failed" in done["status_message"]

    def test_a_tracking_url_costs_the_task_nothing(self, luigid, working_dir, pages, slowly):
        """Luigi's own set_tracking_url forgets resources and messages."""
        luigi_process, log = start_luigi(luigid, working_dir, "Transcribed", "--workers", "2")
        task = wait_until(lambda: (t := luigid.task("Transcribed", "RUNNING")) and t["tracking_url"] and t)
        assert task["tracking_url"] == "http://127.0.0.1/dashboard"
        assert task["resources"] == {"disk": 1}
        assert task["resources_running"] == {"disk": 1}
        assert task["accepts_messages"] is True
        assert luigi_process.wait(timeout=60) == 0, log.read_text()

    def test_what_is_told_is_escaped(self, luigid, working_dir, pages):
        luigi_process, log = start_luigi(luigid, working_dir, "Transcribed")
        assert luigi_process.wait(timeout=60) == 0, log.read_text()
        message = luigid.task("Transcribed", "DONE")["status_message"]
        assert "last failure: " in message
        assert "&lt;img src=x onerror=" in message
        assert "<" not in message

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_luigid_that_goes_away_in_the_middle_costs_the_result_nothing(
        self, luigid, working_dir, pages, slowly, workers
    ):
        """The directory is published while luigid is gone, and when it is back all goes on."""
        luigi_process, log = start_luigi(luigid, working_dir, "Transcribed", "--workers", workers)
        wait_until(lambda: (task := luigid.task("Transcribed", "RUNNING")) and task["progress_percentage"])
        luigid.stop()
        wait_until(lambda: read_manifest(Transcribed().output().path) is not None)
        luigid.start()
        assert luigi_process.wait(timeout=60) == 0, log.read_text()
        assert Transcribed().complete()


class TestWithoutALuigid:
    def test_the_retry_policy_of_a_task_survives_its_tracking_url(self, pages):
        scheduler, seen = Scheduler(), []

        @Transcribed.event_handler(luigi.Event.PROGRESS)
        def look(task, facts):
            known = scheduler._state.get_task(task.task_id)
            seen.append((known.tracking_url, known.retry_policy.retry_count, dict(known.resources), facts))

        try:
            with Worker(scheduler=scheduler) as worker:
                worker.add(Transcribed())
                assert worker.run()
        finally:
            Transcribed.remove_event_handler(luigi.Event.PROGRESS, look)
        assert seen[0][:3] == ("http://127.0.0.1/dashboard", 7, {"disk": 1})
        assert seen[-1][3]["done"] == seen[-1][3]["total"] == 100
        assert seen[-1][3]["failed"] == 10

    def test_a_scheduler_that_never_answers_does_not_hold_up_the_run(self):
        """A call to a luigid that is gone blocks for a minute."""
        is_over, calls = threading.Event(), []

        def never_answer(percentage):
            calls.append(percentage)
            is_over.wait(60)

        begin = time.monotonic()
        with SchedulerPage(a_task_in_a_worker(never_answer), lambda: (50.0, "half"), lambda: None):
            wait_until(lambda: calls)
        assert time.monotonic() - begin < 30
        is_over.set()

    def test_a_scheduler_that_raises_is_warned_of_once(self, caplog):
        def fail(_):
            raise ConnectionError("gone")

        with SchedulerPage(a_task_in_a_worker(fail), lambda: (50.0, "half"), lambda: None):
            time.sleep(1.2)
        assert caplog.text.count("cannot be told of progress") == 1

    def test_a_task_that_runs_by_hand_tells_nobody(self, pages):
        Transcribed().run()
        assert not [thread for thread in threading.enumerate() if "progress" in thread.name]


def a_task_in_a_worker(report):
    """A task whose reporting functions are there, as they are inside a Luigi worker."""
    task = luigi.Task()
    task.set_progress_percentage = task.set_status_message = report
    return task


@pytest.fixture
def browser(tmp_path):
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("there is no chromium with its chromedriver on this machine (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,700"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path / 'chromium'}")
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()
    started.service.stop()


def is_shown(element):
    return element.is_displayed()


def test_the_page_shows_the_run_and_executes_nothing(luigid, working_dir, pages, slowly, browser):
    """A file name with HTML in it comes to the page as text; screenshots are kept in build/screenshots."""
    os.makedirs(SCREENSHOTS, exist_ok=True)
    luigi_process, log = start_luigi(luigid, working_dir, "Transcribed", "--workers", "2")
    wait_until(lambda: (task := luigid.task("Transcribed", "RUNNING")) and task["progress_percentage"])
    browser.get(f"{luigid.url}/static/visualiser/index.html#tab=workers")
    bar = wait_until(lambda: browser.find_elements("css selector", ".taskProgressBar"))[0]
    assert bar.text.endswith("%")
    browser.save_screenshot(os.path.join(SCREENSHOTS, "workers.png"))
    wait_until(lambda: next(filter(is_shown, browser.find_elements("css selector", ".statusMessage")), None)).click()
    message = browser.find_element("css selector", "#statusMessageModal pre")
    first = wait_until(lambda: message.is_displayed() and "of 100 items" in message.text and message.text)
    wait_until(lambda: message.text != first)
    wait_until(lambda: "last failure" in message.text and "<img src=x" in message.text)
    time.sleep(0.6)  # the page asks again every half second
    browser.save_screenshot(os.path.join(SCREENSHOTS, "status_message.png"))
    assert browser.execute_script("return window.BROKEN") is None
    assert browser.find_elements("css selector", "#statusMessageModal pre img") == []
    assert luigi_process.wait(timeout=60) == 0, log.read_text()
