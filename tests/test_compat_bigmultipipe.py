"""A program of BigMultiPipe runs with its import changed, and what was wrong with its results is right here."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import textwrap
from multiprocessing.pool import ThreadPool
from pathlib import Path

import multipipes as mp
import numpy as np
import pytest
from conftest import files_below

import luisy_dir as luisy
from luisy_dir import errors, resources
from luisy_dir.compat import bigmultipipe
from luisy_dir.compat.bigmultipipe import (
    BigMultiPipe,
    NestablePool,
    NoDaemonPool,
    assure_list,
    cached_pout,
    no_outfile,
    num_can_process,
    prune_pout,
)
from luisy_dir.compat.bigmultipipe.argparse_handler import ArgparseHandler, BMPArgparseMixin

HOW = {
    "one": {"num_processes": 1},
    "two": {"num_processes": 2},
    "threads": {"num_processes": 2, "PoolClass": ThreadPool},
}
LISTS = {
    "pre_process_list": [mp.reject, mp.boost_later],
    "post_process_list": [mp.later_booster, mp.median, mp.average],
}


@pytest.fixture(params=HOW)
def how(request):
    """In this process, in two others, in two threads."""
    return HOW[request.param]


@pytest.fixture
def texts(tmp_path):
    """Makes files with these contents."""

    def make(*contents, folder="in"):
        (tmp_path / folder).mkdir(exist_ok=True)
        paths = [tmp_path / folder / f"{number:03d}.txt" for number in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_text(content)
        return [str(path) for path in paths]

    return make


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return str(folder)


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """Ten arrays, each full of its number."""
    folder = tmp_path_factory.mktemp("arrays")
    paths = [str(folder / f"big_array_{number}.npy") for number in range(10)]
    for number, path in enumerate(paths):
        np.save(path, number + np.zeros((100, 200)))
    return paths


class TestDocumented:
    """The numbers of the documentation."""

    @pytest.mark.parametrize(("cls", "lists"), [(mp.ArraysAtOnce, {}), (mp.Arrays, LISTS)])
    def test_both_forms_give_the_documented_numbers(self, arrays, out, how, cls, lists):
        pout = cls(boost_target=3, outdir=out, **lists, **how).pipeline(arrays, reject_value=2, boost_amount=5)

        names = [os.path.join(out, f"big_array_{number}_bmp.npy") for number in range(10)]
        values = [0, 10, None, 35, 40, 50, 60, 70, 80, 90]
        assert pout == [
            (None, {}) if value is None else (name, {"median": value, "average": value})
            for name, value in zip(names, values, strict=True)
        ]
        assert isinstance(pout[0][1]["median"], np.float64)
        assert files_below(out) == [os.path.basename(name) for name in names if "_2_" not in name]
        saved = np.load(names[3])
        assert (saved.shape, saved.dtype, saved.min(), saved.max()) == ((100, 200), np.float64, 35, 35)

    def test_pruning_drops_what_was_rejected_and_its_input(self, arrays, out):
        pout = mp.Arrays(boost_target=3, outdir=out, num_processes=1, **LISTS).pipeline(arrays, reject_value=2)

        pruned, in_names = prune_pout(pout, arrays)

        assert in_names == arrays[:2] + arrays[3:]
        assert [os.path.basename(name) for name, _ in pruned] == files_below(out)

    def test_a_script_without_a_guard_runs_in_processes(self, tmp_path):
        """As the documentation's examples are: with classes and functions of its own, in several processes."""
        script = tmp_path / "script.py"
        script.write_text(
            textwrap.dedent(
                """
                import os, sys
                from luisy_dir.compat.bigmultipipe import BigMultiPipe

                print("the script runs")

                class Note:
                    def __init__(self, text):
                        self.text = text

                def note(data, bmp_meta=None, **kwargs):
                    bmp_meta["note"] = Note(data.decode())
                    bmp_meta["pid"] = os.getpid()
                    return None

                class Texts(BigMultiPipe):
                    def file_read(self, in_name, **kwargs):
                        return in_name.encode()

                pout = Texts(num_processes=2, post_process_list=[note]).pipeline(["a", "b", "c"])
                print([meta["note"].text for name, meta in pout], isinstance(pout[0][1]["note"], Note))
                print(os.getpid() in {meta["pid"] for name, meta in pout})
                """
            )
        )

        done = subprocess.run([sys.executable, str(script)], check=False, capture_output=True, text=True, timeout=60)

        assert done.stdout.splitlines() == ["the script runs", "['a', 'b', 'c'] True", "False"], done.stderr


class TestStreams:
    """Data, keywords and metadata."""

    def test_what_a_pre_function_rejects_is_not_worked_on(self, texts, out, how):
        multipipe = mp.Texts(outdir=out, pre_process_list=[no_outfile, mp.never], post_process_list=mp.never, **how)

        assert multipipe.pipeline(texts("a", "b")) == [(None, {})] * 2
        assert multipipe.report()["status"].to_list() == ["rejected"] * 2
        assert files_below(out) == []

    def test_bmp_data_of_none_rejects_at_once(self, texts, out):
        multipipe = mp.Texts(
            outdir=out, num_processes=1, pre_process_list=[lambda data, **kwargs: {"bmp_data": None}, mp.never]
        )

        assert multipipe.pipeline(texts("a")) == [(None, {})]

    def test_metadata_may_come_without_an_output(self, texts, out, how):
        in_names = texts("a", "b")

        pout = mp.Texts(outdir=out, post_process_list=[mp.note_x, mp.never], **how).pipeline(in_names)

        assert pout == [(None, {"x": 1})] * 2
        assert prune_pout(pout, in_names) == (pout, in_names)
        assert files_below(out) == []

    def test_what_is_marked_is_removed_after_the_last_function(self, texts, out, how):
        multipipe = mp.Texts(outdir=out, post_process_list=[mp.note_big, mp.use_big, no_outfile], **how)
        in_names = texts("a", "b")

        assert multipipe.pipeline(in_names) == [(None, {"used": "L"})] * 2
        assert multipipe.pipeline(in_names, no_bmp_cleanup=True) == [(None, {"used": "L", "big": "LARGE"})] * 2

    def test_the_item_goes_before_the_call_and_the_call_before_the_constructor(self, texts, out, how):
        lists = {"pre_process_list": mp.control_one, "post_process_list": [mp.note_keywords, no_outfile]}
        multipipe = mp.Texts(outdir=out, word="constructor", **lists, **how)
        in_names = texts("one", "two")

        first, second, third = (multipipe.pipeline(in_names, **kwargs) for kwargs in ({}, {"word": "call"}, {}))

        assert [meta["word"] for _, meta in first] == ["item", "constructor"]
        assert [meta["word"] for _, meta in second] == ["item", "call"]
        assert third == first
        assert [meta["in_name"] for _, meta in first] == in_names

    def test_lists_of_a_call_come_after_those_of_the_object_and_are_forgotten(self, texts, out):
        multipipe = mp.Texts(outdir=out, num_processes=1, post_process_list=mp.note_big)
        in_names = texts("a")

        _, meta = multipipe.pipeline(in_names, post_process_list=[mp.use_big])[0]

        assert meta == {"used": "L"}
        assert multipipe.pipeline(in_names)[0][1] == {}
        multipipe.post_process_list = None
        assert multipipe.post_process_list == []

    def test_messages_are_metadata(self, texts, out):
        pout = mp.Texts(outdir=out, num_processes=1, post_process_list=mp.note_twice).pipeline(texts("a"))

        assert pout[0][1] == {"warning": ["one", "two"]}

    def test_lambdas_and_local_functions_cross_to_processes(self, texts, out, how):
        word = "local"
        multipipe = mp.Texts(
            outdir=out, post_process_list=lambda data, bmp_meta=None, **kwargs: bmp_meta.update(word=word), **how
        )

        assert multipipe.pipeline(texts("a", "b")) == [(None, {"word": "local"})] * 2

    def test_a_step_may_start_processes_of_its_own(self, texts, out):
        for pool in (NoDaemonPool, NestablePool, multiprocessing.Pool):
            pout = mp.Texts(
                outdir=out, num_processes=2, PoolClass=pool, post_process_list=[mp.in_a_pool, no_outfile]
            ).pipeline(texts("a", "b"))

            assert pout == [(None, {"doubled": [2, 4, 6]})] * 2

    @pytest.mark.parametrize("name", ["data", "meta", "in_name", "bmp_meta"])
    def test_a_keyword_that_would_clash_is_refused(self, texts, name):
        with pytest.raises(errors.DefinitionError, match=f"named '{name}'"):
            BigMultiPipe(**{name: 1})
        with pytest.raises(errors.DefinitionError, match=f"named '{name}'"):
            BigMultiPipe().pipeline(texts("a"), **{name: 1})


class TestNames:
    """Where outputs go."""

    def test_the_base_class_copies_bytes(self, tmp_path, out, how):
        (tmp_path / "test.dat").write_bytes(b"content")

        pout = BigMultiPipe(outdir=out, **how).pipeline([tmp_path / "test.dat"])

        assert pout == [(os.path.join(out, "test_bmp.dat"), {})]
        assert Path(out, "test_bmp.dat").read_bytes() == b"content"
        assert files_below(out) == ["test_bmp.dat"]

    def test_without_a_folder_outputs_go_to_the_current_one(self, texts, tmp_path, monkeypatch, how):
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")

        BigMultiPipe(**how).pipeline(texts("a", "b"))

        assert files_below(tmp_path / "here") == ["000_bmp.txt", "001_bmp.txt"]

    def test_metadata_may_name_the_output(self, texts, out):
        multipipe = mp.Texts(outdir=out, num_processes=1, post_process_list=mp.rename)

        pout = multipipe.pipeline(texts("a"), names={"outname": "renamed.txt"})

        assert pout == [(os.path.join(out, "renamed.txt"), {"outname": "renamed.txt"})]
        assert files_below(out) == ["renamed.txt"]

    def test_metadata_may_name_a_folder_and_have_it_made(self, texts, tmp_path, out):
        names = {"outdir": str(tmp_path / "new" / "deep"), "create_outdir": True, "outname_append": "_x"}
        multipipe = mp.Texts(outdir=out, num_processes=1, post_process_list=mp.rename)

        multipipe.pipeline(texts("a"), names=names)

        assert files_below(tmp_path / "new") == ["deep/000_x.txt"]

    def test_a_folder_that_is_not_there_is_a_failure_of_each_file(self, texts, tmp_path, how):
        pout = mp.Texts(outdir=tmp_path / "new", **how).pipeline(texts("a", "b"))

        assert all(name is None and "FileNotFoundError" in meta["error"] for name, meta in pout)
        assert not (tmp_path / "new").exists()

    def test_a_subclass_may_leave_the_folder_to_its_base(self, arrays, tmp_path):
        mp.Folders(outdir=tmp_path / "new", create_outdir=True, num_processes=1).pipeline(arrays[:1])

        assert files_below(tmp_path / "new") == ["big_array_0_bmp.npy"]

    def test_what_is_false_or_empty_overrides_too(self, texts, tmp_path, out):
        multipipe = mp.Texts(outdir=tmp_path / "new", create_outdir=True, num_processes=1)
        in_names = texts("a")

        assert "FileNotFoundError" in multipipe.pipeline(in_names, create_outdir=False)[0][1]["error"]
        assert multipipe.pipeline(in_names, outdir=out, outname_append="")[0][0] == os.path.join(out, "000.txt")

    def test_the_name_of_one_output_may_be_given(self, texts, out):
        in_names = texts("a")

        mp.Texts(outdir=out, num_processes=1).pipeline(in_names, outname="call.txt")
        mp.Texts(outdir=out, num_processes=1, outname="constructor.txt").pipeline(in_names)

        assert files_below(out) == ["call.txt", "constructor.txt"]

    def test_a_method_that_is_called_by_itself_heeds_the_object(self, texts, out):
        name, meta = mp.Texts(outdir=out, outname_append="_x").file_process(texts("a")[0])

        assert (name, meta) == (os.path.join(out, "000_x.txt"), {})

    def test_a_group_is_one_item(self, texts, out, how):
        multipipe = BigMultiPipe(
            outdir=out,
            pre_process_list=lambda data, **kwargs: b"".join(data),
            post_process_list=[mp.rename],
            names={"outname": "g.txt"},
            **how,
        )

        pout = multipipe.pipeline([texts("0", "1")])

        assert [name for name, _ in pout] == [os.path.join(out, "g.txt")]
        assert Path(out, "g.txt").read_bytes() == b"01"
        assert len(multipipe.report()) == 1
        assert [len(sources) for sources in multipipe.report()["sources"]] == [2]

    def test_a_group_without_a_name_is_told_so(self, texts, out):
        pout = BigMultiPipe(outdir=out, num_processes=1).pipeline([texts("0", "1")])

        assert "has no name for its output" in pout[0][1]["error"]

    def test_an_array_is_not_passed_over_where_nobody_says_how_to_write_it(self, arrays, out):
        pout = mp.Slack(outdir=out, num_processes=1).pipeline(arrays[:1])

        assert "Slack has a ndarray to write" in pout[0][1]["error"]

    def test_a_file_that_was_not_written_is_warned_of(self, texts, out, caplog):
        mp.Nowhere(outdir=out, num_processes=1).pipeline(texts("a"))

        assert "file_write returned" in caplog.text


class TestCollisions:
    """No file replaces another one without a word."""

    def test_of_two_inputs_with_one_name_the_second_fails(self, texts, out, how):
        first, second = texts("first", folder="a"), texts("second", folder="b")

        pout = mp.Texts(outdir=out, **how).pipeline(first + second)

        (written,) = [place for place, (name, _) in enumerate(pout) if name is not None]
        failure = pout[1 - written][1]["error"]
        assert Path(out, "000_bmp.txt").read_text() == ["FIRST", "SECOND"][written]
        assert failure.startswith("KeyCollisionError")
        assert all(name in failure for name in first + second)

    def test_an_input_is_never_replaced(self, texts, tmp_path, how):
        in_names = texts("a", "b")

        pout = mp.Texts(outdir=tmp_path / "in", outname_append="", **how).pipeline(in_names)

        assert all(meta["error"].startswith("OutputError") for _, meta in pout)
        assert [Path(name).read_text() for name in in_names] == ["a", "b"]

    def test_nor_is_the_input_of_another(self, texts, tmp_path, how):
        """As where the folder of the outputs is that of the inputs, and all that lies there is given again."""
        (in_name,) = texts("a")
        (former,) = [Path(in_name).with_name("000_bmp.txt")]
        former.write_text("A")

        pout = mp.Texts(outdir=tmp_path / "in", **how).pipeline([in_name, former])

        assert pout[0][1]["error"].startswith("OutputError")
        assert pout[1][0].endswith("000_bmp_bmp.txt")

    def test_a_method_that_writes_everything_to_one_place_is_told_so(self, texts, out, how):
        pout = mp.Whole(**how).pipeline(texts("a", "b"), place=os.path.join(out, "one.txt"))

        assert sorted(name is None for name, _ in pout) == [False, True]
        assert any("were both written" in meta.get("error", "") for _, meta in pout)

    def test_an_input_that_is_given_twice_is_processed_once(self, texts, out, how):
        (in_name,) = texts("a")
        multipipe = mp.Texts(outdir=out, **how)

        pout = multipipe.pipeline([in_name, Path(in_name), in_name])

        assert pout == [(os.path.join(out, "000_bmp.txt"), {})] * 3
        assert len(multipipe.report()) == 1


class TestTrouble:
    """What goes wrong with one file costs that file."""

    def test_one_bad_file_among_a_hundred_is_one_failure(self, texts, out, how, caplog):
        in_names = texts(*["raise" if number == 30 else "a" for number in range(100)])
        multipipe = mp.Texts(outdir=out, **how)

        pout = multipipe.pipeline(in_names)

        assert len(files_below(out)) == 99
        assert pout[30] == (None, {"error": "ValueError('Sample error')"})
        assert [name for name, _ in pout if name] == [os.path.join(out, name) for name in files_below(out)]
        assert len(prune_pout(pout, in_names)[0]) == 100
        report = multipipe.report()
        assert report.index.to_list() == in_names
        assert report["status"].to_list() == ["written"] * 30 + ["failed"] + ["written"] * 69
        (line,) = [record.message for record in caplog.records if record.levelname == "ERROR"]
        assert in_names[30] in line
        assert "Sample error" in line

    @pytest.mark.parametrize(("trouble", "told"), [("exit", "exit code 9"), ("kill", "SIGKILL")])
    def test_a_worker_that_dies_costs_the_file_that_it_had_in_hand(self, texts, out, trouble, told):
        in_names = texts(*[trouble if number == 5 else "a" for number in range(30)])

        pout = mp.Texts(outdir=out, num_processes=2).pipeline(in_names)

        assert len(files_below(out)) == 29
        assert [place for place, (name, _) in enumerate(pout) if name is None] == [5]
        assert pout[5][1]["error"].startswith("WorkerDied('the worker ")
        assert told in pout[5][1]["error"]

    @pytest.mark.parametrize("num_processes", [1, 2])
    def test_a_file_that_hangs_is_ended(self, texts, out, num_processes):
        in_names = texts(*["hang" if number == 5 else "a" for number in range(30)])

        pout = mp.Texts(outdir=out, num_processes=num_processes, bmp_timeout=1.0).pipeline(in_names)

        assert len(files_below(out)) == 29
        assert pout[5][1]["error"].startswith("Timeout(")

    @pytest.mark.parametrize("name", ["no\0file", "no\ud800file", "no file", b"no file", ""])
    def test_a_name_that_no_file_has_is_the_failure_of_that_file(self, texts, out, how, name):
        pout = mp.Texts(outdir=out, **how).pipeline([*texts("a"), name])

        assert pout[0][0] == os.path.join(out, "000_bmp.txt")
        assert pout[1][1].keys() == {"error"}

    def test_names_that_are_no_unicode_are_read_and_written(self, tmp_path, out, how):
        in_names = [os.fsencode(tmp_path) + b"/\xff.txt", os.fsdecode(os.fsencode(tmp_path) + b"/\xfe.txt")]
        for in_name in in_names:
            Path(os.fsdecode(in_name)).write_text("a")

        pout = mp.Texts(outdir=out, **how).pipeline(in_names)

        assert [os.fsencode(os.path.basename(name)) for name, _ in pout] == [b"\xff_bmp.txt", b"\xfe_bmp.txt"]
        assert sorted(os.listdir(os.fsencode(out))) == [b"\xfe_bmp.txt", b"\xff_bmp.txt"]

    def test_a_killed_program_leaves_no_half_output_of_the_base_class(self, texts, out, tmp_path):
        """Its hidden file goes at the next run."""
        program = (
            "import os, sys; from luisy_dir import contents; from luisy_dir.storage import local\n"
            "from luisy_dir.compat.bigmultipipe import BigMultiPipe\n"
            "def half(path, data, sync): open(path, 'w').write('half'); os.kill(os.getpid(), 9)\n"
            "local.write_whole, write = lambda path, data, sync: (half if '.luisy-' in path else write)(path, data, "
            "sync=sync), local.write_whole\n"
            "BigMultiPipe(outdir=sys.argv[1], num_processes=1).pipeline(sys.argv[2:])"
        )
        in_names = texts("a")
        environment = os.environ | {"TMPDIR": str(tmp_path)}
        done = subprocess.run([sys.executable, "-c", program, out, *in_names], check=False, env=environment)
        assert done.returncode == -9
        (hidden,) = os.listdir(out)
        assert hidden.startswith(".luisy-")

        BigMultiPipe(outdir=out, num_processes=1).pipeline(in_names)

        assert os.listdir(out) == ["000_bmp.txt"]

    def test_a_file_may_be_tried_again(self, texts, out):
        multipipe = mp.Flaky(outdir=out, num_processes=1, bmp_retries=1)

        assert multipipe.pipeline(texts("a"))[0][0] is not None
        assert multipipe.report()["attempts"].to_list() == [2]

    @pytest.mark.parametrize(
        ("word", "function", "told"),
        [("lock", mp.note_lock, "cannot be sent back"), ("break", mp.note_breaking, "cannot be read here")],
    )
    def test_metadata_that_cannot_cross_are_the_failure_of_their_file(self, texts, out, how, word, function, told):
        pout = mp.Texts(outdir=out, post_process_list=function, **how).pipeline(texts("a", word, "b"))

        assert [name is None for name, _ in pout] == [False, True, False]
        assert told in pout[1][1]["error"]

    def test_after_an_interruption_there_is_a_report(self, texts, out):
        multipipe = mp.Texts(outdir=out, num_processes=1)

        with pytest.raises(KeyboardInterrupt):
            multipipe.pipeline(texts("a", "b", "interrupt", "c"))

        assert multipipe.report()["status"].to_list() == ["written"] * 2

    def test_abort_ends_the_run(self, texts, out, how):
        multipipe = mp.Texts(outdir=out, **how)

        with pytest.raises(luisy.Abort, match="no use"):
            multipipe.pipeline(texts("a", "abort"))

        assert "failed" in multipipe.report()["status"].to_list()

    def test_the_report_of_a_run_has_no_rows_of_another(self, texts, out):
        multipipe = mp.Texts(outdir=out, num_processes=1)
        in_names = texts("raise", "a")
        multipipe.pipeline(in_names)

        multipipe.pipeline(in_names[1:])

        assert multipipe.report().index.to_list() == in_names[1:]

    def test_a_run_that_is_refused_leaves_no_report_of_the_one_before(self, texts, out):
        multipipe = mp.Texts(outdir=out, num_processes=1)
        in_names = texts("a")
        multipipe.pipeline(in_names)

        with pytest.raises(errors.MemoryShortError):
            multipipe.pipeline(in_names, mem_available=1, process_size=2)

        assert len(multipipe.report()) == 0

    def test_threads_cannot_end_a_file_that_hangs_and_say_so(self, texts):
        with pytest.raises(errors.SettingError, match="cannot end an item that takes too long"):
            BigMultiPipe(bmp_timeout=1, **HOW["threads"]).pipeline(texts("a", "b"))

    def test_metadata_are_columns_but_for_what_a_report_cannot_have(self, texts, out, how):
        names = {"width": np.float32(0.5), "status": "good", "array": np.zeros(3), 3: 4}
        multipipe = mp.Texts(outdir=out, post_process_list=[mp.rename], names=names, **how)

        pout = multipipe.pipeline(texts("a"))

        assert pout[0][1].keys() == names.keys()
        report = multipipe.report()
        assert report["width"].to_list() == [0.5]
        assert report["status"].to_list() == ["written"]
        assert "array" not in report

    def test_nothing_to_do_is_no_result_and_a_report_with_all_columns(self, how):
        multipipe = mp.Texts(**how)

        assert multipipe.pipeline([]) == []
        assert len(multipipe.report()) == 0
        assert "status" in multipipe.report()

    def test_without_a_run_there_is_no_report(self):
        with pytest.raises(errors.DefinitionError, match="no run"):
            BigMultiPipe().report()

    def test_inputs_may_come_from_a_generator(self, texts, out, how):
        pout = mp.Texts(outdir=out, **how).pipeline(name for name in texts("a", "b"))

        assert [os.path.basename(name) for name, _ in pout] == ["000_bmp.txt", "001_bmp.txt"]

    def test_one_path_in_the_place_of_a_list_is_refused(self):
        with pytest.raises(errors.DefinitionError, match="which is one path"):
            BigMultiPipe().pipeline("a.txt")

    def test_a_pool_that_nothing_stands_for_is_refused(self, texts):
        with pytest.raises(errors.DefinitionError, match="for which no engine stands"):
            BigMultiPipe(PoolClass=list).pipeline(texts("a"))
        with pytest.raises(errors.DefinitionError, match="is a name for the engine"):
            NoDaemonPool(2)

    def test_nothing_is_left_behind_in_the_temporary_folder(self, texts, out, how, tmp_path, monkeypatch):
        (tmp_path / "temporary").mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))

        mp.Texts(outdir=out, **how).pipeline(texts("a", "raise"))

        assert list((tmp_path / "temporary").iterdir()) == []


class TestCounting:
    """How many processes there are."""

    @pytest.mark.parametrize(
        ("facts", "number"),
        [
            ({"num_to_process": 10, "num_processes": 8, "mem_available": 1000, "process_size": 300}, 3),
            ({"num_to_process": 3, "num_processes": 8}, 3),
            ({"num_to_process": 0, "num_processes": 8}, 0),
            ({"num_processes": 0.5}, 2),
            ({"num_processes": 0.01}, 1),
            ({"num_processes": 0}, 4),
            ({}, 4),
            ({"num_processes": 8, "process_size": 300}, 2),
            ({"num_processes": 8, "process_size": 300, "mem_frac": 0.5}, 1),
            ({"mem_available": 1000, "process_size": 2000, "error_if_zero": False}, 0),
        ],
    )
    def test_it_is_the_least_of_files_processors_and_memory(self, monkeypatch, facts, number):
        monkeypatch.setattr(bigmultipipe.counting, "usable_cpus", lambda: 4)
        monkeypatch.setattr(bigmultipipe.counting, "usable_memory", lambda: 1000)

        assert num_can_process(**facts) == number

    def test_control_groups_are_heeded(self):
        assert bigmultipipe.counting.usable_cpus is resources.usable_cpus
        assert bigmultipipe.counting.usable_memory is resources.usable_memory

    @pytest.mark.parametrize("number", [-1, 1.5])
    def test_a_number_that_makes_no_sense_is_refused(self, number):
        with pytest.raises(ValueError, match=f"num_processes is {number}"):
            num_can_process(10, num_processes=number)

    def test_a_process_that_is_too_large_is_an_error_with_both_sizes(self, texts):
        with pytest.raises(OSError, match=r"2,000 bytes, .* 1,000 for all"):
            num_can_process(10, num_processes=8, mem_available=1000, process_size=2000)
        with pytest.raises(OSError, match=r"2,000 bytes, .* 1,000 for all"):
            BigMultiPipe(mem_available=1000).pipeline(texts("a"), process_size=2000)

    def test_one_process_is_the_calling_one(self, texts, out):
        def note_pid(data, bmp_meta=None, **kwargs):
            bmp_meta["pid"] = os.getpid()

        multipipe = mp.Texts(outdir=out, num_processes=2, post_process_list=note_pid)
        in_names = texts("a", "b")

        assert {meta["pid"] for _, meta in multipipe.pipeline(in_names[:1])} == {os.getpid()}
        assert os.getpid() not in {meta["pid"] for _, meta in multipipe.pipeline(in_names)}


def test_luigi_is_not_needed():
    program = (
        "import sys; import luisy_dir.compat.bigmultipipe; print({'luigi', 'numpy', 'pandas'} & sys.modules.keys())"
    )

    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)

    assert done.stdout == "set()\n"


def test_a_tuple_is_several_functions():
    assert assure_list((abs, len)) == [abs, len]


class TestCachedPout:
    """What a run has returned is kept for the next program."""

    @pytest.fixture
    def run(self, texts, out):
        """A pipeline that notes how often it runs."""
        in_names, multipipe = texts("a", "b"), mp.Texts(outdir=out, num_processes=1, post_process_list=mp.note_keywords)

        def go(*, create_outdir, **kwargs):
            go.runs += 1
            return multipipe.pipeline(in_names, create_outdir=create_outdir, **kwargs)

        go.runs = 0
        return go

    def test_it_is_returned_and_nothing_runs(self, run, tmp_path):
        pout = cached_pout(run, tmp_path / "pout", write_pout=True, word="kept")

        assert cached_pout(run, tmp_path / "pout", read_pout=True, word="other") == pout
        assert pout[0][1]["word"] == "kept"
        assert run.runs == 1

    def test_without_a_file_the_pipeline_runs(self, run, tmp_path):
        cached_pout(run, tmp_path / "pout", read_pout=True)

        assert run.runs == 1
        assert not (tmp_path / "pout").exists()

    @pytest.mark.parametrize("content", [b"", b"no pickle", b"\x80\x05\x95"])
    def test_a_file_that_cannot_be_read_is_told_of_and_replaced(self, run, tmp_path, caplog, content):
        (tmp_path / "pout").write_bytes(content)

        pout = cached_pout(run, tmp_path / "pout", read_pout=True, write_pout=True)

        assert f"{tmp_path / 'pout'} cannot be read" in caplog.text
        assert cached_pout(run, tmp_path / "pout", read_pout=True) == pout
        assert run.runs == 1

    def test_a_folder_that_is_not_there_is_an_error_before_anything_runs(self, run, tmp_path):
        with pytest.raises(FileNotFoundError, match="new"):
            cached_pout(run, tmp_path / "new" / "pout", write_pout=True)
        assert run.runs == 0

        cached_pout(run, tmp_path / "new" / "pout", write_pout=True, create_outdir=True)
        assert files_below(tmp_path / "new") == ["pout"]

    def test_the_folder_may_be_the_current_one(self, run, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)

        cached_pout(run, "pout", write_pout=True, create_outdir=True)

        assert (tmp_path / "pout").exists()

    @pytest.mark.parametrize("what", ["read_pout", "write_pout"])
    def test_a_file_without_a_name_is_refused(self, run, what):
        with pytest.raises(errors.DefinitionError, match="need a file"):
            cached_pout(run, **{what: True})


class TestArgparse:
    """The arguments as options of a command line."""

    NAMES = (
        "outdir", "create_outdir", "read_pout", "write_pout", "outname_append", "num_processes", "mem_available",
        "mem_frac", "process_size",
    )  # fmt: skip

    @staticmethod
    def parsed(*arguments, **options):
        class Options(BMPArgparseMixin, ArgparseHandler):
            def add_all(self):
                for name in TestArgparse.NAMES:
                    getattr(self, f"add_{name}")(**options.get(name, {}))

        parser = argparse.ArgumentParser()
        Options(parser).add_all()
        return vars(parser.parse_args(arguments))

    def test_usual_values_run_a_pipeline(self, texts, out):
        options = self.parsed("--outdir", out)
        read, write = options.pop("read_pout"), options.pop("write_pout")

        pout = BigMultiPipe(**options).pipeline(texts("a"))

        assert (read, write) == (False, False)
        assert [name for name, _ in pout] == [os.path.join(out, "000_bmp.txt")]

    def test_each_may_be_given(self):
        given = self.parsed(
            "--outdir", "o", "--create_outdir", "--no-read_pout", "--write_pout", "--outname_append", "_x",
            "--num_processes", "2", "--mem_available", "1000", "--mem_frac", "0.5", "--process_size", "300",
        )  # fmt: skip

        assert given == dict(zip(self.NAMES, ["o", True, False, True, "_x", 2, 1000, 0.5, 300], strict=True))

    def test_names_and_usual_values_may_be_others(self):
        given = self.parsed(read_pout={"option": "read_flats", "default": True}, outdir={"help": "where to"})

        assert given["read_flats"] is True
        assert "read_pout" not in given
