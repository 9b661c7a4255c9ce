"""One object in one file: what is written is read again, and no reader ever sees half of it."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import textwrap
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from luisy_dir.errors import BusyError, DefinitionError, ForeignDirectoryError, MissingInputError, StorageError
from luisy_dir.staging import staging_of
from luisy_dir.targets.file import (
    CSVTarget,
    FeatherTarget,
    HDFTarget,
    JSONTarget,
    LocalTarget,
    NpyTarget,
    NpzTarget,
    ParquetDirTarget,
    ParquetTarget,
    PickleTarget,
    XLSXTarget,
)

NOBODY = 65534
OF_FRAMES = [CSVTarget, ParquetTarget, FeatherTarget, HDFTarget, XLSXTarget]
FRAME = pd.DataFrame({"size": [1, 2, 3], "weight": [0.5, -1e-300, 3.25], "name": ["a", "é", "c, d"]})
OTHER_FRAME = pd.DataFrame({"size": [9], "weight": [0.0], "name": ["z"]})
ONE_OF_EACH = [
    (PickleTarget, {"any": (1, None)}),
    (CSVTarget, FRAME),
    (JSONTarget, {"answer": [42, None, "é"]}),
    (NpyTarget, np.arange(6).reshape(2, 3)),
    (NpzTarget, {"one": np.arange(3), "two": np.eye(2)}),
    (ParquetTarget, FRAME),
    (FeatherTarget, FRAME),
    (HDFTarget, FRAME),
    (XLSXTarget, FRAME),
    (ParquetDirTarget, FRAME),
]
NAMES = [cls.__name__ for cls, _ in ONE_OF_EACH]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    # What UTF-8 cannot carry is refused, which test_formats.py shows.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)
FINITE = st.floats(-1e307, 1e307)  # beyond, sixteen digits are rounded to infinity


def is_equal(read, written):
    """Whether two objects are equal, be they frames, arrays or dictionaries of arrays."""
    if isinstance(written, pd.DataFrame):
        pd.testing.assert_frame_equal(read, written)
        return True
    if isinstance(written, np.ndarray):
        return read.dtype == written.dtype and read.shape == written.shape and read.tobytes() == written.tobytes()
    if isinstance(written, dict) and any(isinstance(value, np.ndarray) for value in written.values()):
        return read.keys() == written.keys() and all(is_equal(read[name], written[name]) for name in written)
    return read == written


def round_trip(cls, written, **options):
    """What is read of an object that was written; nothing else lies beside the file then."""
    with tempfile.TemporaryDirectory() as folder:
        target = cls(os.path.join(folder, "one" + cls.suffix), sync=False, **options)
        target.write(written)
        assert os.listdir(folder) == ["one" + cls.suffix]
        return target.read()


@pytest.fixture
def json_file(tmp_path):
    """A file that has been written once."""
    target = JSONTarget(tmp_path / "answer.json")
    target.write("old")
    return target


class TestRoundTrips:
    @pytest.mark.parametrize("sync", [True, False], ids=["sync", "no sync"])
    @pytest.mark.parametrize(("cls", "written"), ONE_OF_EACH, ids=NAMES)
    def test_what_was_written_is_read(self, tmp_path, cls, written, sync):
        target = cls(tmp_path / f"one{cls.suffix}", sync=sync)
        assert not target.exists()
        target.write(written)
        assert target.exists()
        assert is_equal(target.read(), written)

    @given(st.recursive(st.none() | st.integers() | st.binary() | FINITE, lambda inner: st.tuples(inner, inner)))
    def test_any_object_as_a_pickle(self, written):
        assert round_trip(PickleTarget, written) == written

    @given(JSON)
    def test_any_document_as_json(self, written):
        assert round_trip(JSONTarget, written) == written

    @given(hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0, max_side=4, min_side=0)))
    def test_any_array_as_npy(self, written):
        assert is_equal(round_trip(NpyTarget, written), written)

    @given(st.dictionaries(st.text("abcé_ ", min_size=1), hnp.arrays("f8", hnp.array_shapes(max_side=3)), min_size=1))
    def test_any_named_arrays_as_npz(self, written):
        assert is_equal(round_trip(NpzTarget, written), written)

    @pytest.mark.parametrize("cls", [*OF_FRAMES, ParquetDirTarget])
    @given(numbers=st.lists(FINITE, min_size=1, max_size=5))
    def test_every_number_of_a_frame(self, cls, numbers):
        """Bit for bit, but for a workbook, which knows sixteen digits and no negative zero."""
        written = pd.DataFrame({"number": numbers}, dtype="f8")
        read = round_trip(cls, written)["number"].astype("f8").tolist()
        if cls is XLSXTarget:
            assert read == pytest.approx(numbers, rel=1e-15, abs=1e-290)
        else:
            assert np.array(read).tobytes() == np.array(numbers).tobytes()

    @pytest.mark.parametrize("cls", [ParquetTarget, FeatherTarget, HDFTarget, ParquetDirTarget])
    def test_a_frame_without_rows_keeps_its_columns(self, cls):
        written = FRAME[["size", "weight"]].iloc[:0]
        pd.testing.assert_frame_equal(round_trip(cls, written), written, check_index_type=False)

    @pytest.mark.parametrize("cls", [ParquetTarget, HDFTarget, PickleTarget])
    def test_an_index_is_kept_where_the_format_knows_one(self, cls):
        written = FRAME.set_index("name")[["size"]]
        pd.testing.assert_frame_equal(round_trip(cls, written), written)

    @pytest.mark.parametrize("cls", [CSVTarget, XLSXTarget])
    def test_a_table_has_its_index_where_that_is_wanted(self, cls):
        written = FRAME.set_index("name")[["size"]]
        assert list(round_trip(cls, written).columns) == ["size"]
        pd.testing.assert_frame_equal(round_trip(cls, written, index=True, index_col=0), written)

    @pytest.mark.parametrize(("cls", "written"), ONE_OF_EACH[:-1], ids=NAMES[:-1])
    def test_a_second_write_replaces_the_first(self, tmp_path, cls, written):
        target = cls(tmp_path / f"one{cls.suffix}")
        first = OTHER_FRAME if isinstance(written, pd.DataFrame) else {"old": np.zeros(2)}
        target.write(first if cls not in {JSONTarget, NpyTarget} else np.zeros(2).tolist())
        target.write(written)
        assert is_equal(target.read(), written)

    def test_a_path_may_be_relative(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        JSONTarget("folder/answer.json").write(42)
        assert JSONTarget("folder/answer.json").read() == 42
        JSONTarget("folder/answer.json").clean()
        assert os.listdir("folder") == []

    @pytest.mark.parametrize(("cls", "written"), ONE_OF_EACH, ids=NAMES)
    def test_reading_what_is_not_there_names_the_path(self, tmp_path, cls, written):
        with pytest.raises(MissingInputError, match=r"one.*Run the task"):
            cls(tmp_path / "one").read()


class TestOptions:
    def test_a_separator_is_for_both_sides(self, tmp_path):
        for name in ("sep", "delimiter"):
            target = CSVTarget(tmp_path / f"{name}.csv", **{name: ";"})
            target.write(FRAME)
            assert (tmp_path / f"{name}.csv").read_text().startswith("size;weight;name\n")
            assert is_equal(target.read(), FRAME)

    def test_columns_are_chosen_when_reading(self, tmp_path):
        target = CSVTarget(tmp_path / "one.csv", usecols=["size"])
        target.write(FRAME)
        assert is_equal(CSVTarget(tmp_path / "one.csv").read(), FRAME)
        assert list(target.read().columns) == ["size"]

    def test_an_encoding_and_a_compression_are_for_both_sides(self):
        assert is_equal(round_trip(CSVTarget, FRAME, encoding="utf-16", compression="gzip"), FRAME)

    def test_a_number_format_is_for_writing(self):
        assert round_trip(CSVTarget, FRAME, float_format="%.1f")["weight"].tolist() == [0.5, -0.0, 3.2]

    def test_a_sheet_may_have_a_name(self):
        assert is_equal(round_trip(XLSXTarget, FRAME, sheet_name="measured"), FRAME)

    @pytest.mark.parametrize("cls", [ParquetTarget, FeatherTarget])
    def test_a_frame_on_disk_may_be_read_in_part(self, cls):
        assert list(round_trip(cls, FRAME, columns=["name"]).columns) == ["name"]

    @pytest.mark.parametrize(
        ("cls", "option"),
        [
            (CSVTarget, "use_cols"),
            (CSVTarget, "path_or_buf"),
            (CSVTarget, "filepath_or_buffer"),
            (XLSXTarget, "excel_writer"),
            (ParquetTarget, "kwargs"),
            (PickleTarget, "sep"),
            (HDFTarget, "key"),
        ],
    )
    def test_what_is_no_option_is_refused_by_name(self, tmp_path, cls, option):
        """Above all what we give pandas ourselves: where to read and to write."""
        with pytest.raises(DefinitionError, match=option):
            cls(tmp_path / "one", **{option: "x"})


class Unwilling:
    """Raises in the middle of being pickled, when some of it has been written."""

    def __reduce__(self):
        raise RuntimeError("in the middle")


class Mischief:
    """Calls a function of the test in the middle of being pickled."""

    def __init__(self, function):
        self.function = function

    def __reduce__(self):
        self.function()
        return str, ()


class TestAWriterThatRaises:
    def test_the_former_file_stays_whole_with_nothing_beside_it(self, tmp_path):
        target = PickleTarget(tmp_path / "one.pkl")
        target.write("old")
        with pytest.raises(RuntimeError, match="in the middle"):
            target.write([b"x" * 1_000_000, Unwilling()])
        assert target.read() == "old"
        assert os.listdir(tmp_path) == ["one.pkl"]

    def test_without_a_former_file_there_is_none(self, tmp_path):
        with pytest.raises(RuntimeError, match="in the middle"):
            PickleTarget(tmp_path / "one.pkl").write([b"x" * 1_000_000, Unwilling()])
        assert os.listdir(tmp_path) == []

    def test_readers_see_the_former_file_while_the_next_is_written(self, tmp_path):
        target, seen = PickleTarget(tmp_path / "one.pkl"), []
        target.write("old")
        target.write([b"x" * 1_000_000, Mischief(lambda: seen.append(target.read()))])
        assert seen == ["old"]
        assert target.read()[1] == ""

    def test_parts_of_a_folder_are_published_together_or_not_at_all(self, tmp_path):
        def parts():
            yield FRAME
            assert not target.exists()
            raise RuntimeError("in the middle")

        target = ParquetDirTarget(tmp_path / "parts")
        with pytest.raises(RuntimeError, match="in the middle"):
            target.write(parts())
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("wrong", [42, [FRAME, "no frame"], {"a": 1}])
    def test_a_folder_of_parquet_files_takes_frames(self, tmp_path, wrong):
        with pytest.raises(TypeError, match=r"got (int|str)|not iterable"):
            ParquetDirTarget(tmp_path / "parts").write(wrong)
        assert os.listdir(tmp_path) == []

    def test_a_folder_without_a_frame_is_refused(self, tmp_path):
        """It would never be complete, and could not be written again."""
        with pytest.raises(ValueError, match="no frame"):
            ParquetDirTarget(tmp_path / "parts").write([])
        assert os.listdir(tmp_path) == []


KILLED = """
    import os, signal, sys
    from luisy_dir.targets.file import PickleTarget

    class Deadly:
        def __reduce__(self):
            os.kill(os.getpid(), signal.SIGKILL)

    PickleTarget(sys.argv[1]).write([b"x" * 1_000_000, Deadly()])
"""


def kill_a_writer_of(path):
    answer = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), path], timeout=60, check=False)
    assert answer.returncode == -signal.SIGKILL


class TestAProcessThatIsKilledInTheMiddle:
    def test_the_former_file_stays_whole_and_the_next_write_clears_up(self, tmp_path):
        target = PickleTarget(tmp_path / "one.pkl")
        target.write("old")
        kill_a_writer_of(target.path)
        assert target.read() == "old"
        assert sorted(os.listdir(tmp_path)) == [".one.pkl.staging", "one.pkl"]

        target.write("new")
        assert target.read() == "new"
        assert os.listdir(tmp_path) == ["one.pkl"]

    def test_without_a_former_file_there_is_none_and_clean_clears_up(self, tmp_path):
        target = PickleTarget(tmp_path / "one.pkl")
        kill_a_writer_of(target.path)
        assert not target.exists()
        assert os.listdir(tmp_path) == [".one.pkl.staging"]

        target.clean()
        assert os.listdir(tmp_path) == []


class TestTwoWritersAtOnce:
    def test_the_second_is_told_and_the_first_is_read(self, tmp_path):
        target = PickleTarget(tmp_path / "one.pkl")

        def write_too():
            with pytest.raises(BusyError, match=r"\.one\.pkl\.staging"):
                PickleTarget(target.path).write("second")

        target.write(["first", Mischief(write_too)])
        assert target.read() == ["first", ""]
        assert os.listdir(tmp_path) == ["one.pkl"]

    def test_the_second_process_is_told_too(self, tmp_path):
        target, ends = PickleTarget(tmp_path / "one.pkl"), []
        script = (
            "import sys; from luisy_dir.targets.file import PickleTarget; PickleTarget(sys.argv[1]).write('second')"
        )

        def write_too():
            command = [sys.executable, "-c", script, target.path]
            ends.append(subprocess.run(command, capture_output=True, text=True, timeout=60, check=False))

        target.write(["first", Mischief(write_too)])
        assert ends[0].returncode == 1
        assert "BusyError" in ends[0].stderr
        assert target.read() == ["first", ""]

    def test_clean_is_told_while_a_writer_is_at_work(self, tmp_path):
        target = PickleTarget(tmp_path / "one.pkl")
        target.write("old")

        def clean():
            with pytest.raises(BusyError):
                PickleTarget(target.path).clean()

        target.write(Mischief(clean))
        assert target.exists()

    def test_many_writers_leave_one_whole_file(self, tmp_path):
        """Each writes a file of one letter; whoever is told that it is busy tries again."""
        script = textwrap.dedent("""
            import sys
            from luisy_dir.errors import BusyError
            from luisy_dir.targets.file import PickleTarget
            left = 20
            while left:
                try:
                    PickleTarget(sys.argv[1], sync=False).write(sys.argv[2] * 300_000)
                    left -= 1
                except BusyError:
                    pass
        """)
        target = PickleTarget(tmp_path / "one.pkl")
        writers = [subprocess.Popen([sys.executable, "-c", script, target.path, letter]) for letter in "ab"]
        try:
            while any(writer.poll() is None for writer in writers):
                if target.exists():
                    assert target.read() in {"a" * 300_000, "b" * 300_000}
        finally:
            ends = [writer.wait(60) for writer in writers]
        assert ends == [0, 0]
        assert os.listdir(tmp_path) == ["one.pkl"]


class TestPlaces:
    @pytest.mark.parametrize(
        "name",
        ["two words", "[x] {y} (z)*?", "été 東京 🎉", " leading", "-dash", "a'b\"c", "new\nline", "%41", "x" * 250],
        ids=["spaces", "brackets", "unicode", "blank", "dash", "quotes", "line end", "percent", "250 bytes"],
    )
    def test_a_name_may_be_odd(self, tmp_path, name):
        target = JSONTarget(tmp_path / name)
        target.write(1)
        target.write(2)
        assert target.read() == 2
        assert os.listdir(tmp_path) == [name]
        target.clean()
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("cls", [cls for cls, _ in ONE_OF_EACH], ids=NAMES)
    def test_every_format_writes_below_an_odd_name(self, tmp_path, cls):
        written = dict(ONE_OF_EACH)[cls]
        target = cls(tmp_path / "é [1] x" / ("ü" * 120 + cls.suffix))
        target.write(written)
        assert is_equal(target.read(), written)

    def test_a_name_that_is_too_long_leaves_nothing(self, tmp_path):
        with pytest.raises(StorageError, match="name too long"):
            JSONTarget(tmp_path / ("x" * 256)).write(1)
        assert os.listdir(tmp_path) == []

    def test_missing_parents_are_made(self, tmp_path):
        for cls, written in ONE_OF_EACH:
            cls(tmp_path / cls.__name__ / "a" / "b" / f"one{cls.suffix}").write(written)
            assert os.listdir(tmp_path / cls.__name__ / "a" / "b") == [f"one{cls.suffix}"]

    def test_asking_makes_nothing(self, tmp_path):
        target = JSONTarget(tmp_path / "a" / "b.json")
        assert not target.exists()
        target.clean()
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize(("cls", "written"), ONE_OF_EACH, ids=NAMES)
    def test_a_directory_in_the_files_place_is_never_replaced(self, tmp_path, cls, written):
        (tmp_path / "one").mkdir()
        (tmp_path / "one" / "precious").write_text("mine")
        target = cls(tmp_path / "one")
        assert not target.exists()
        for act in (lambda: target.write(written), target.remove, target.clean):
            with pytest.raises(ForeignDirectoryError, match="one"):
                act()
        assert os.listdir(tmp_path) == ["one"]
        assert (tmp_path / "one" / "precious").read_text() == "mine"

    def test_a_file_in_the_folders_place_is_never_replaced(self, tmp_path):
        (tmp_path / "one").write_text("mine")
        target = ParquetDirTarget(tmp_path / "one")
        assert not target.exists()
        for act in (lambda: target.write(FRAME), target.remove, target.clean):
            with pytest.raises(ForeignDirectoryError, match="one"):
                act()
        assert (tmp_path / "one").read_text() == "mine"
        assert os.listdir(tmp_path) == ["one"]

    def test_a_file_in_the_parents_place_is_an_error_that_names_it(self, tmp_path):
        (tmp_path / "parent").write_text("mine")
        with pytest.raises(OSError, match="parent"):
            JSONTarget(tmp_path / "parent" / "one.json").write(1)
        assert (tmp_path / "parent").read_text() == "mine"

    def test_a_link_is_replaced_and_what_it_leads_to_stays(self, tmp_path):
        (tmp_path / "elsewhere.json").write_text('"mine"')
        (tmp_path / "one.json").symlink_to(tmp_path / "elsewhere.json")
        JSONTarget(tmp_path / "one.json").write("ours")
        assert (tmp_path / "elsewhere.json").read_text() == '"mine"'
        assert JSONTarget(tmp_path / "one.json").read() == "ours"

    def test_clean_removes_a_link_and_not_what_it_leads_to(self, tmp_path):
        (tmp_path / "elsewhere.json").write_text('"mine"')
        (tmp_path / "one.json").symlink_to(tmp_path / "elsewhere.json")
        JSONTarget(tmp_path / "one.json").clean()
        assert os.listdir(tmp_path) == ["elsewhere.json"]

    @pytest.mark.parametrize("verb", ["write", "clean"])
    def test_a_folder_that_may_only_be_read_says_so_and_the_file_stays(self, verb):
        with tempfile.TemporaryDirectory() as folder:
            target = JSONTarget(os.path.join(folder, "answer.json"))
            target.write("old")
            os.chmod(folder, 0o555)
            with as_nobody(), pytest.raises(StorageError, match=r"\.staging.*Permission denied.*the right to do so"):
                getattr(target, verb)(*(["new"] if verb == "write" else []))
            assert target.read() == "old"
            assert os.listdir(folder) == ["answer.json"]
            os.chmod(folder, 0o755)


@contextlib.contextmanager
def as_nobody():
    """As a user whom permissions bind, which they do not bind root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


class TestRemoving:
    @pytest.mark.parametrize("verb", ["remove", "clean"])
    @pytest.mark.parametrize(("cls", "written"), ONE_OF_EACH, ids=NAMES)
    def test_the_file_goes_and_its_neighbour_stays(self, tmp_path, cls, written, verb):
        (tmp_path / "neighbour").write_text("mine")
        target = cls(tmp_path / f"one{cls.suffix}")
        target.write(written)
        getattr(target, verb)()
        assert not target.exists()
        assert os.listdir(tmp_path) == ["neighbour"]
        target.write(written)
        assert target.exists()

    def test_removing_what_is_not_there_is_an_error_and_cleaning_is_not(self, tmp_path):
        for cls in (JSONTarget, ParquetDirTarget):
            with pytest.raises(FileNotFoundError):
                cls(tmp_path / "one").remove()
            cls(tmp_path / "one").clean()
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("verb", ["remove", "clean"])
    @pytest.mark.parametrize("foreign", ["notes.txt", ".hidden", "_SUCCESS"])
    def test_a_folder_with_foreign_files_stays_as_it_is(self, tmp_path, verb, foreign):
        target = ParquetDirTarget(tmp_path / "parts")
        target.write([FRAME, FRAME])
        (tmp_path / "parts" / foreign).write_text("mine")
        with pytest.raises(ForeignDirectoryError, match=foreign):
            getattr(target, verb)()
        assert len(os.listdir(tmp_path / "parts")) == 3
        assert len(target.read()) == 6

    def test_clean_takes_what_is_left_in_the_staging(self, json_file, tmp_path):
        staging = staging_of(json_file.path)
        os.makedirs(os.path.join(staging, "run-left"))
        json_file.clean()
        assert os.listdir(tmp_path) == []


class TestAFolderOfParquetFiles:
    def test_each_frame_is_a_file_and_reading_joins_them_in_order(self, tmp_path):
        target = ParquetDirTarget(tmp_path / "parts")
        target.write(pd.DataFrame({"n": [2 * number, 2 * number + 1]}) for number in range(12))
        assert len(os.listdir(tmp_path / "parts")) == 12
        assert target.read()["n"].tolist() == list(range(24))
        assert target.read().index.tolist() == list(range(24))

    def test_what_others_wrote_is_read_too(self, tmp_path):
        """As Spark writes it, with a mark beside the files."""
        folder = tmp_path / "parts"
        folder.mkdir()
        (folder / "_SUCCESS").write_text("")
        (folder / ".part-0.parquet.crc").write_text("no frame")
        (folder / "._part-0.parquet").write_text("no frame")
        FRAME.to_parquet(folder / "part-0-xyz.snappy.parquet")
        assert is_equal(ParquetDirTarget(folder).read(), FRAME)

    def test_an_empty_folder_is_no_result(self, tmp_path):
        assert not ParquetDirTarget(tmp_path).exists()
        with pytest.raises(MissingInputError, match=r"no \.parquet file"):
            ParquetDirTarget(tmp_path).read()

    def test_a_published_folder_is_replaced_after_clean_alone(self, tmp_path):
        target = ParquetDirTarget(tmp_path / "parts")
        target.write(FRAME)
        with pytest.raises(ForeignDirectoryError, match=r"clean\(\)"):
            target.write(OTHER_FRAME)
        assert is_equal(target.read(), FRAME)
        target.clean()
        target.write(OTHER_FRAME)
        assert is_equal(target.read(), OTHER_FRAME)


@pytest.mark.parametrize(("cls", "written"), ONE_OF_EACH, ids=NAMES)
def test_a_target_says_what_it_is(cls, written):
    assert repr(cls("data/one")) == f"{cls.__name__}('data/one')"
    assert issubclass(cls, LocalTarget)


def test_plain_tools_read_the_files(tmp_path):
    """Nothing of ours is needed to read what was written."""
    PickleTarget(tmp_path / "one.pkl").write({"a": 1})
    HDFTarget(tmp_path / "one.hdf").write(FRAME)
    NpzTarget(tmp_path / "one.npz").write({"a": np.eye(2)})
    assert pickle.loads((tmp_path / "one.pkl").read_bytes()) == {"a": 1}
    pd.testing.assert_frame_equal(pd.read_hdf(tmp_path / "one.hdf", key="data"), FRAME)
    with np.load(tmp_path / "one.npz") as arrays:
        assert np.array_equal(arrays["a"], np.eye(2))


def test_writing_hdf_warns_of_nothing(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        HDFTarget(tmp_path / "one.hdf").write(FRAME)
