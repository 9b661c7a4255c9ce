"""The settings: where each comes from, what is allowed, and what is said where it is not."""

import itertools
import os
import re
import subprocess
import sys

import luigi
import pytest
from hypothesis import given
from hypothesis import strategies as st
from luigi.cmdline_parser import CmdlineParser
from luigi.configuration import get_config

from luisy_dir import settings
from luisy_dir.engines import open_engine
from luisy_dir.errors import SettingError
from luisy_dir.resources import usable_cpus
from luisy_dir.settings import SETTINGS, adopt, process_state, resolve, set_working_dir

SOURCES = ["flag", "python", "environment", "class", "luigi.cfg"]  # the strongest first
SWITCHES = {"retry_failed"}  # their flags take no value: given, they say true
MAY_COME = [(name, source) for name in SETTINGS for source in SOURCES if source != "class" or SETTINGS[name].is_of_task]


class AnyTask(luigi.Task):
    """Luigi reads flags only together with the name of a task."""


@pytest.fixture
def say(monkeypatch, request):
    """Give a setting a value at one of its sources: ``say(source, name, value)``; a task comes back."""
    monkeypatch.setattr(settings, "_set_in_python", {})
    flags = []

    class Task:
        pass

    def give(source, name, value):
        if source == "flag":
            flag = f"--luisy-dir-{name.replace('_', '-')}"
            flags.append(flag if name in SWITCHES else f"{flag}={value}")
            monkeypatch.setattr(CmdlineParser, "_instance", CmdlineParser(["AnyTask", *flags]))
        elif source == "python":
            settings._set_in_python[name] = value
        elif source == "environment":
            monkeypatch.setenv(f"LUISY_DIR_{name.upper()}", value)
        elif source == "class":
            monkeypatch.setattr(Task, name, value, raising=False)
        elif source == "luigi.cfg":
            get_config().set("luisy_dir", name, value)
            request.addfinalizer(lambda: get_config().remove_option("luisy_dir", name))
        return Task()

    return give


# -- precedence -------------------------------------------------------------------------------------------------------

# Two values that are allowed, and what they mean.
VALUES = {
    "working_dir": (("/a", "/a"), ("/b", "/b")),
    "engine": (("serial", "serial"), ("threads", "threads")),
    "workers": (("3", 3), ("4", 4)),
    "memory": (("0.5", 0.5), ("2 GiB", 2 << 30)),
    "max_errors": (("0.5", 0.5), ("7", 7)),
    "timeout": (("0.5", 0.5), ("none", None)),
    "retries": (("1", 1), ("3", 3)),
    "retry_delay": (("0.5", 0.5), ("2", 2.0)),
    "dask_address": (("tcp://a:8786", "tcp://a:8786"), ("tls://b:1", "tls://b:1")),
    "durability": (("none", "none"), ("item", "item")),
    "on_code_change": (("warn", "warn"), ("ignore", "ignore")),
    "resume": (("any-code", "any-code"), ("no", "no")),
    "on_no_space": (("allow", "allow"), ("error", "error")),
    "seed": (("1", 1), ("2", 2)),
    "freshness": (("exists", "exists"), ("inputs", "inputs")),
    "check_outputs": (("none", "none"), ("stat", "stat")),
    "on_empty": (("allow", "allow"), ("error", "error")),
    "max_deleted": (("0.25", 0.25), ("7", 7)),
    "keep_generations": (("1", 1), ("9", 9)),
    "retry_failed": (("true", True), ("false", False)),
    "limit": (("1", 1), ("20", 20)),
    "sample": (("0.01", 0.01), ("0.5", 0.5)),
    "only": (("a", ("a",)), ("b/1,c", ("b/1", "c"))),
    "progress": (("on", "on"), ("off", "off")),
}


@pytest.mark.parametrize(("name", "source"), MAY_COME)
def test_every_setting_may_come_from_every_source(say, source, name):
    values = [(text, value) for text, value in VALUES[name] if value or source != "flag" or name not in SWITCHES]
    for text, value in values:
        assert resolve(name, say(source, name, text)) == value


@pytest.mark.parametrize(("stronger", "weaker"), list(itertools.combinations(SOURCES, 2)))
@pytest.mark.parametrize("order", ["stronger first", "weaker first"])
def test_of_two_sources_the_stronger_one_counts(say, stronger, weaker, order):
    said = [(weaker, "3"), (stronger, "4")]
    for source, text in said if order == "weaker first" else said[::-1]:
        task = say(source, "workers", text)

    assert resolve("workers", task) == 4


@pytest.mark.parametrize("name", SETTINGS)
def test_what_nobody_set_has_its_default(say, name):
    task = say("nowhere", name, "")

    assert resolve(name, task) == SETTINGS[name].parse(SETTINGS[name].default)


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("engine", "processes"),
        ("memory", 0.8),
        ("max_errors", 0),
        ("timeout", None),
        ("retries", 0),
        ("retry_delay", 0.1),
        ("durability", "commit"),
        ("on_code_change", "rerun"),
        ("resume", "same-code"),
        ("on_no_space", "error"),
        ("seed", 0),
        ("freshness", "inputs"),
        ("check_outputs", "stat"),
        ("max_deleted", 0.5),
        ("keep_generations", 3),
        ("retry_failed", False),
        ("on_empty", "error"),
        ("progress", "auto"),
    ],
)
def test_the_defaults_are_those_that_are_documented(name, default):
    assert resolve(name) == default


def test_by_default_there_are_as_many_workers_as_usable_cpus():
    assert resolve("workers") == usable_cpus()


def test_by_default_the_working_directory_is_where_one_is(say, tmp_path, monkeypatch):
    say("nowhere", "working_dir", "")
    monkeypatch.chdir(tmp_path)

    assert resolve("working_dir") == str(tmp_path)


@pytest.mark.parametrize("source", ["flag", "environment", "class", "luigi.cfg"])
def test_an_empty_value_counts_as_not_given(say, source):
    """``LUISY_DIR_ENGINE= luigi …`` is how a shell unsets for one command."""
    assert resolve("engine", say(source, "engine", "")) == "processes"


def test_a_class_attribute_of_zero_is_given(say):
    """Zero is no less a value than any other."""
    say("luigi.cfg", "max_errors", "5")

    assert resolve("max_errors", say("class", "max_errors", 0)) == 0


def test_none_as_a_class_attribute_counts_as_not_given(say):
    assert resolve("engine", say("class", "engine", None)) == "processes"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("workers", 3),
        ("memory", 0.5),
        ("memory", 1 << 30),
        ("max_errors", 0.25),
        ("max_errors", 2),
        ("seed", 2**70),
        ("engine", "threads"),
    ],
)
def test_a_class_attribute_need_not_be_text(say, name, value):
    resolved = resolve(name, say("class", name, value))

    assert (resolved, type(resolved)) == (value, type(value))


def test_a_class_attribute_of_one_class_says_nothing_of_another(say):
    say("class", "engine", "serial")

    assert resolve("engine", object()) == "processes"


def test_a_setting_without_a_task_comes_from_the_other_sources(say):
    say("environment", "engine", "serial")

    assert resolve("engine") == "serial"


# -- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("workers", "auto", usable_cpus()),
        ("workers", "1", 1),
        ("memory", "1.0", 1.0),
        ("memory", "0.01", 0.01),
        ("memory", "1000", 1000),
        ("memory", "500MB", 500_000_000),
        ("memory", " 1.5 GiB ", 3 << 29),
        ("memory", "2 kib", 2048),
        ("memory", "7 B", 7),
        ("max_errors", "0", 0),
        ("max_errors", "0.0", 0.0),
        ("max_errors", "1", 1),
        ("max_errors", "1.0", 1.0),
        ("max_errors", "1e-3", 0.001),
        ("max_errors", "1E-3", 0.001),
        ("max_errors", ".5", 0.5),
        ("max_errors", "1000", 1000),
        ("engine", "loky:get_reusable_executor", "loky:get_reusable_executor"),
        ("retries", "0", 0),
        ("retry_delay", "0", 0.0),
        ("retry_delay", "1e-3", 0.001),
        ("durability", "item", "item"),
        ("resume", "any-code", "any-code"),
        ("on_no_space", "allow", "allow"),
        ("max_deleted", "0", 0),
        ("max_deleted", "1.0", 1.0),
        ("max_deleted", "1", 1),
        ("keep_generations", "1", 1),
        ("retry_failed", "True", True),
        ("retry_failed", "yes", True),
        ("retry_failed", "1", True),
        ("retry_failed", "NO", False),
        ("retry_failed", "0", False),
        ("working_dir", "/a/../b/", "/b"),
    ],
)
def test_what_is_allowed_is_taken(say, name, text, value):
    resolved = resolve(name, say("environment", name, text))

    assert (resolved, type(resolved)) == (value, type(value))


WRONG = {
    "engine": ["nope", "Serial", "Dask", "module:", ":function", " serial"],
    "workers": ["0", "-1", "1.5", "many", "1,000", "0x2"],
    "memory": [
        "0",
        "0.0",
        "0 GB",
        "1",
        "01",
        "2.0",
        "0.0001 kB",
        "-1",
        "1.5",
        "80%",
        "2 G",
        "GB",
        "2 GB 3",
        "1e9",
        "inf",
        "nan",
        "٣ GB",
        "9" * 99,
    ],
    "max_errors": ["-1", "-0.1", "1.5", "some", "nan", "inf", "-inf", "1e400", "1/2", "50%", "0.5e"],
    "timeout": ["0", "-1", "nan", "inf", "soon", "None", "30s"],
    "retries": ["-1", "1.0", "many"],
    "retry_delay": ["-0.1", "nan", "inf", "1s", "soon"],
    "durability": ["commits", "ALL", "0"],
    "on_code_change": ["no", "RERUN", "0"],
    "resume": ["yes", "any", "0"],
    "on_no_space": ["warn", "false"],
    "seed": ["-1", "1.0", "random"],
    "freshness": ["newer", "Inputs"],
    "check_outputs": ["full", "True"],
    "max_deleted": ["-1", "-0.1", "1.5", "half", "nan", "inf", "50%"],
    "keep_generations": ["0", "-1", "1.5", "all"],
    "retry_failed": ["2", "on", "maybe", "-"],
    "on_empty": ["warn", "ignore"],
    "limit": ["0", "-1", "1.5", "1%", "all"],
    "sample": [
        "1",
        "0",
        "0%",
        "-1%",
        "101%",
        "1.5",
        "%",
        "some",
        "nan%",
        "nan.",
        "inf.",
        "1e-400",
        "9e999999999999999999",
    ],
    "progress": ["yes", "true", "Auto"],
}
NAMED = {
    "flag": "the flag --luisy-dir-",
    "python": "set_",
    "environment": "the environment variable LUISY_DIR_",
    "class": "the class or decorator of Task",
    "luigi.cfg": "[luisy_dir] in luigi.cfg",
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in WRONG.items() for text in texts])
def test_what_is_not_allowed_is_refused_in_words_that_name_setting_value_and_allowed_values(say, name, text):
    with pytest.raises(SettingError) as caught:
        resolve(name, say("environment", name, text))

    message = str(caught.value)
    assert f"The setting {name!r} is {text!r}" in message
    assert f"Allowed: {SETTINGS[name].allowed}" in message


TAKES_ANY_TEXT = [
    (name, source) for name, source in MAY_COME if name in WRONG and (name in SWITCHES, source) != (True, "flag")
]


@pytest.mark.parametrize(("name", "source"), TAKES_ANY_TEXT)
def test_a_wrong_value_is_refused_in_words_that_name_its_source(say, source, name):
    named = "scratch()" if source == "python" and name in settings.OF_SELECTION else NAMED[source]
    with pytest.raises(SettingError, match=re.escape(f"from {named}")):
        resolve(name, say(source, name, "-wrong-"))


@pytest.mark.parametrize("name", settings.OF_SELECTION)
def test_what_is_chosen_for_all_tasks_is_not_read_from_a_class(say, name):
    """A task may have a parameter or a method of that name, which has nothing to do with the setting."""
    assert resolve(name, say("class", name, "1")) is None


@pytest.mark.parametrize("value", [object(), b"serial", ["serial"], True, 2.0])
@pytest.mark.parametrize(
    "name", sorted(WRONG.keys() - {"retry_failed", "retry_delay", "timeout", *settings.OF_SELECTION})
)
def test_a_class_attribute_of_another_kind_is_refused(say, name, value):
    with pytest.raises(SettingError, match="the class or decorator of Task"):
        resolve(name, say("class", name, value))


@pytest.mark.parametrize("value", [object(), b"0.1", [0.1], True])
def test_a_class_attribute_that_is_no_number_of_seconds_is_refused(say, value):
    with pytest.raises(SettingError, match="the class or decorator of Task"):
        resolve("retry_delay", say("class", "retry_delay", value))


@pytest.mark.parametrize("value", [object(), b"true", ["true"], 2.0, 2])
def test_a_class_attribute_that_is_neither_true_nor_false_is_refused(say, value):
    with pytest.raises(SettingError, match="the class or decorator of Task"):
        resolve("retry_failed", say("class", "retry_failed", value))


@pytest.mark.parametrize(("value", "expected"), [(True, True), (False, False), (1, True), (0, False)])
def test_a_class_attribute_may_be_true_or_false(say, value, expected):
    """False is given, and not the same as nothing: it is stronger than luigi.cfg."""
    say("luigi.cfg", "retry_failed", "false" if value else "true")

    assert resolve("retry_failed", say("class", "retry_failed", value)) is expected


def test_a_switch_that_is_given_reaches_a_child_process(say):
    say("flag", "retry_failed", "true")
    state = process_state()

    with open_engine("processes", 1) as executor:
        executor.submit(adopt, state).result()
        answer = executor.submit(resolve, "retry_failed").result()

    assert answer is True


@pytest.mark.parametrize("source", SOURCES[1:])
def test_a_switch_that_is_not_given_says_nothing(say, source):
    """A command line with other flags does not mean "false": weaker sources count."""
    say("flag", "workers", "2")

    assert resolve("retry_failed", say(source, "retry_failed", "true")) is True
    assert "retry_failed" not in process_state() or source == "python"


def test_a_wrong_value_of_a_weaker_source_does_not_matter(say):
    say("luigi.cfg", "workers", "wrong")

    assert resolve("workers", say("environment", "workers", "2")) == 2


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_whatever_stands_there_the_answer_is_a_value_or_a_setting_error(text):
    class Task:
        pass

    for name in WRONG:
        setattr(Task, name, text)
        try:
            resolve(name, Task())
        except SettingError as error:
            assert name in str(error)  # noqa: PT017 - both ways out are right


# -- the table --------------------------------------------------------------------------------------------------------


def test_every_setting_has_a_flag_and_every_flag_a_setting():
    assert {name for name, _ in settings.luisy_dir.get_params()} == SETTINGS.keys()


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_the_default_of_every_setting_is_allowed_and_everything_is_explained(setting):
    setting.parse(setting.default)

    assert setting.allowed
    assert setting.description


def test_an_unknown_setting_is_an_error():
    with pytest.raises(KeyError):
        resolve("engin")


# -- the working directory --------------------------------------------------------------------------------------------


def test_a_working_directory_is_fixed_when_it_is_set(say, tmp_path, monkeypatch):
    """Whoever changes the folder afterwards does not move the project."""
    monkeypatch.chdir(tmp_path)
    set_working_dir("data")
    monkeypatch.chdir("/")

    assert resolve("working_dir") == str(tmp_path / "data")


def test_a_working_directory_may_be_any_kind_of_path(tmp_path):
    set_working_dir(tmp_path / "x")

    assert resolve("working_dir") == str(tmp_path / "x")


# -- other processes --------------------------------------------------------------------------------------------------


def test_the_state_of_a_process_is_what_a_child_would_not_know_otherwise(say):
    """The environment and luigi.cfg reach a child by themselves."""
    say("python", "working_dir", "/python")
    say("environment", "seed", "5")
    say("luigi.cfg", "workers", "5")
    say("flag", "engine", "serial")

    assert process_state() == {"working_dir": "/python", "engine": "serial"}


def test_a_flag_is_stronger_than_python_in_the_state_of_a_process(say):
    say("python", "working_dir", "/python")
    say("flag", "working_dir", "/flag")

    assert process_state() == {"working_dir": "/flag"}


def test_a_child_process_decides_as_its_parent_does(say, tmp_path):
    """Else a worker would write elsewhere."""
    say("environment", "engine", "threads")
    say("flag", "engine", "serial")
    set_working_dir(tmp_path)
    state = process_state()

    with open_engine("processes", 1) as executor:
        executor.submit(adopt, state).result()
        answers = [executor.submit(resolve, name).result() for name in ("engine", "working_dir", "durability")]

    assert answers == ["serial", str(tmp_path), "commit"]


def test_an_environment_reaches_a_child_process(say):
    say("environment", "engine", "threads")

    with open_engine("processes", 1) as executor:
        assert executor.submit(resolve, "engine").result() == "threads"
    assert os.environ["LUISY_DIR_ENGINE"] == "threads"


def test_a_single_percent_sign_in_luigi_cfg_is_an_error_that_says_what_to_write(tmp_path):
    """ConfigParser takes it for the name of another value."""
    path = tmp_path / "luigi.cfg"
    code = "from luisy_dir.settings import resolve\nprint(resolve('sample'))"

    def ask(value):
        path.write_text(f"[core]\nautoload_range = false\n[luisy_dir]\nsample = {value}\n")
        return subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"LUIGI_CONFIG_PATH": str(path)},
            capture_output=True,
            text=True,
            check=False,
        )

    assert "SettingError: The setting 'sample'" in ask("1%").stderr
    assert "as in 1%%" in ask("1%").stderr
    assert ask("1%%").stdout == "0.01\n"


def test_a_toml_configuration_counts_and_is_named_in_the_error(tmp_path):
    """Luigi reads TOML where LUIGI_CONFIG_PARSER says so; numbers there are numbers."""
    path = tmp_path / "luigi.toml"
    path.write_text('[core]\nautoload_range = false\n[luisy_dir]\nworkers = 3\nmax_errors = 0.25\nengine = "treads"\n')
    code = (
        "from luisy_dir.settings import resolve\n"
        "print(resolve('workers'), resolve('max_errors'), resolve('durability'))\n"
        "resolve('engine')"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"LUIGI_CONFIG_PARSER": "toml", "LUIGI_CONFIG_PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.stdout == "3 0.25 commit\n"
    assert "'engine' is 'treads', from [luisy_dir] in luigi.toml. Allowed: serial, threads" in answer.stderr
