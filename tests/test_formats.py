"""The formats: what is written is what is read, or it is refused."""

import gc
import io
import math
import os
import pickle
import sys
import tempfile
import time
import zipfile
from functools import partial

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from PIL import Image

from luisy_dir import formats
from luisy_dir.errors import DefinitionError, MissingExtraError
from luisy_dir.formats import Format, format_for, format_of_path, register_format, registered_formats
from luisy_dir.storage.local import write_new

IMAGE = np.arange(5 * 7 * 3, dtype="uint8").reshape(5, 7, 3)
LOSSLESS = [".npy", ".tif"]
# Whatever NumPy can hold without pickle.
DTYPES = ["bool", "uint8", "int16", "<u4", ">i8", "float16", "float64", "complex64"]
TEXT = st.text(st.characters(exclude_categories=["Cs"]))

awkward_layouts = pytest.mark.parametrize(
    "layout",
    [
        pytest.param(lambda image: image, id="plain"),
        pytest.param(np.asfortranarray, id="Fortran order"),
        pytest.param(lambda image: image[::2, ::-1], id="every other row, columns backwards"),
        pytest.param(lambda image: image.swapaxes(0, 1), id="transposed"),
        pytest.param(lambda image: np.broadcast_to(image[:1], image.shape), id="broadcast"),
    ],
)


@pytest.fixture
def round_trip(tmp_path):
    """Write data as a run does, and read it again."""

    def write_and_read(data, suffix):
        path = str(tmp_path / f"file{suffix}")
        store(path, partial(format_for(suffix).write, data))
        return format_of_path(path).read(path)

    return write_and_read


@pytest.fixture
def own_formats(monkeypatch):
    """Formats that are registered are forgotten after the test."""
    monkeypatch.setattr(formats, "_FORMATS", dict(formats._FORMATS))


def store(path, write):
    """Write a file as a run does."""
    write_new(*os.path.split(path), write)


def is_same_array(one, other):
    return one.dtype == other.dtype and one.shape == other.shape and np.array_equal(one, other)


# -- arrays -----------------------------------------------------------------------------------------------------------


@awkward_layouts
@pytest.mark.parametrize("suffix", [".npy", ".tif", ".png"])
def test_an_image_of_any_memory_layout_is_read_as_it_was(round_trip, suffix, layout):
    image = layout(IMAGE)

    assert is_same_array(round_trip(image, suffix), image)


@awkward_layouts
def test_named_arrays_of_any_memory_layout_are_read_as_they_were(round_trip, layout):
    image = layout(IMAGE)

    again = round_trip({"image": image}, ".npz")

    assert is_same_array(again["image"], image)


@settings(max_examples=50)
@given(arrays_of.arrays(st.sampled_from(DTYPES), arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0)))
@example(np.array(5))
@example(np.zeros((0, 3)))
@example(np.array("text"))
@example(np.array(["2024-05-01"], "datetime64[s]"))
@example(np.zeros(2, [("x", "<f4"), ("y", "S3")]))
def test_npy_gives_back_every_array_bit_for_bit(array):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a.npy")
        store(path, partial(formats.write_npy, array))

        again = formats.read_npy(path)

    assert (again.dtype, again.shape) == (array.dtype, array.shape)
    assert again.tobytes() == array.tobytes()


def test_npy_is_written_in_c_order(tmp_path):
    """A view of the file is cut by offset and strides, which the manifest does not know."""
    path = str(tmp_path / "a.npy")

    store(path, partial(formats.write_npy, np.asfortranarray(IMAGE)))

    assert np.load(path, mmap_mode="r").flags.c_contiguous


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "int64", "float16", "float64", "complex64"])
@pytest.mark.parametrize("shape", [(5,), (5, 7), (5, 7, 1), (1, 5, 7), (3, 5, 7), (1, 1, 1), (2, 5, 7, 3)])
def test_numbers_of_any_dtype_and_shape_are_read_as_they_were(round_trip, suffix, dtype, shape):
    array = (np.arange(math.prod(shape)).reshape(shape) % 2).astype(dtype)

    assert is_same_array(round_trip(array, suffix), array)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "bool"])
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (7, 1)])
def test_png_gives_back_a_grey_image_bit_for_bit(round_trip, dtype, shape):
    image = (np.arange(math.prod(shape)).reshape(shape) * 6553 % 65521).astype(dtype)

    assert is_same_array(round_trip(image, ".png"), image)


@pytest.mark.parametrize("shape", [(5, 7, 2), (5, 7, 3), (5, 7, 4), (1, 1, 3)])
def test_png_gives_back_an_image_with_channels_bit_for_bit(round_trip, shape):
    image = (np.arange(math.prod(shape)).reshape(shape) % 251).astype("uint8")

    assert is_same_array(round_trip(image, ".png"), image)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "bool"])
@pytest.mark.parametrize("shape", [(3, 10, 12), (10, 12, 1), (10, 12, 3), (2, 10, 12, 3), (0, 12), (12,)])
def test_png_never_changes_a_pixel_without_a_word(tmp_path, dtype, shape):
    """What a PNG cannot hold is refused; a stack of channels in front is the mistake that everybody makes once."""
    array = (np.arange(math.prod(shape)).reshape(shape) * 6553 % 65521).astype(dtype)
    path = str(tmp_path / "a.png")
    try:
        store(path, partial(formats.write_png, array))
    except (TypeError, ValueError, IndexError):
        return

    assert np.array_equal(formats.read_image(path), array)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("dtype", ["float32", "int16", "int64", "complex64", "O"])
def test_an_image_format_refuses_what_it_would_have_to_convert(round_trip, suffix, dtype):
    with pytest.raises(TypeError, match=rf"cannot be written as \{suffix} without changing its values"):
        round_trip(np.zeros((4, 4), dtype), suffix)


@pytest.mark.parametrize("dtype", ["uint16", "bool"])
def test_jpg_takes_nothing_but_bytes(round_trip, dtype):
    with pytest.raises(TypeError, match="allowed: uint8"):
        round_trip(np.zeros((4, 4), dtype), ".jpg")


@pytest.mark.parametrize(
    ("suffix", "shape"), [(".png", ()), (".png", (5,)), (".jpg", (5,)), (".jpg", (16, 16, 4)), (".jpg", (3, 16, 16))]
)
def test_an_array_that_is_no_image_is_refused_in_words_that_name_its_shape(suffix, shape):
    problem = None
    try:
        format_for(suffix).write(np.zeros(shape, "uint8"), io.BytesIO())
    except Exception as error:
        problem = type(error), str(error)
    gc.collect()  # a writer that was left open complains when it goes

    assert problem is not None
    assert issubclass(problem[0], (TypeError, ValueError)), problem
    assert str(shape) in problem[1]


@pytest.mark.parametrize("shape", [(16, 16), (16, 24, 3)])
def test_jpg_gives_back_nearly_what_was_written(round_trip, shape):
    image = np.full(shape, 100, "uint8")

    again = round_trip(image, ".jpg")

    assert (again.shape, again.dtype) == (shape, image.dtype)
    assert np.abs(again.astype(int) - 100).max() <= 2


@pytest.mark.parametrize("array", [np.array([None]), np.array(["a"], "O"), np.zeros(1, [("x", "O")]), [{"a": 1}]])
def test_npy_refuses_objects(round_trip, array):
    """They could be written with pickle only, and a pickle can run any code when it is read."""
    with pytest.raises(TypeError, match=r"'\.pkl'"):
        round_trip(array, ".npy")


def test_npz_refuses_objects_and_says_which(round_trip):
    with pytest.raises(TypeError, match="'b'"):
        round_trip({"a": np.arange(2), "b": np.array([None])}, ".npz")


@pytest.mark.parametrize("array", [np.array([None]), np.array(["a"]), np.array(["2024"], "datetime64[Y]")])
def test_tif_refuses_what_is_no_number_in_words(round_trip, array):
    with pytest.raises((TypeError, ValueError), match=r"\.tif|dtype"):
        round_trip(array, ".tif")


def test_a_masked_array_is_not_written_without_its_mask(round_trip):
    """Pixels that somebody masked would count again in the next step."""
    masked = np.ma.masked_array([1.0, 2.0], [False, True])

    with pytest.raises(TypeError, match="mask"):
        round_trip(masked, ".npy")


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_nothing_is_unpickled_when_arrays_are_read(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    objects = np.array([{"a": 1}])
    np.save(path, objects) if suffix == ".npy" else np.savez(path, a=objects)

    with pytest.raises(ValueError, match="allow_pickle"):
        format_for(suffix).read(str(path))


@pytest.mark.parametrize("data", [np.arange(3), [np.arange(3)], None])
def test_npz_takes_a_dictionary(round_trip, data):
    with pytest.raises(TypeError, match="dictionary of arrays"):
        round_trip(data, ".npz")


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["a", "b"],
        ["arr_0"],
        ["a/b", "größe", " ", "a.b"],
        pytest.param(["file"], id="named like an argument of numpy.savez"),
        pytest.param(["allow_pickle"], id="named like another argument"),
        pytest.param(["x", "x.npy"], id="two names that differ in .npy"),
    ],
)
def test_npz_gives_back_arrays_of_any_name(round_trip, names):
    arrays = {name: np.array([number]) for number, name in enumerate(names)}

    again = round_trip(arrays, ".npz")

    assert {name: array.tolist() for name, array in again.items()} == {n: a.tolist() for n, a in arrays.items()}


@settings(max_examples=50)
@given(st.lists(st.text(max_size=4), max_size=3, unique=True))
@example(["a\0b", "a\0c"])
@example(["/a", "../b", "c/"])
def test_npz_never_changes_a_name_without_a_word(names):
    """What a zip archive cannot name is refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a.npz")
        try:
            store(path, partial(formats.write_npz, {name: np.array(name != "") for name in names}))
        except (TypeError, ValueError):
            return

        assert list(formats.read_npz(path)) == names


def test_npz_takes_text_for_names(round_trip):
    """1 would come back as '1'."""
    with pytest.raises(TypeError):
        round_trip({1: np.arange(2)}, ".npz")


@awkward_layouts
def test_plain_numpy_reads_an_npz(tmp_path, layout):
    path = str(tmp_path / "a.npz")
    store(path, partial(formats.write_npz, {"a": layout(IMAGE), "b/c": np.array(5)}))

    with np.load(path) as arrays:
        assert is_same_array(arrays["a"], layout(IMAGE))
        assert is_same_array(arrays["b/c"], np.array(5))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_of_plain_numpy_is_read(tmp_path, save):
    save(tmp_path / "a.npz", IMAGE, b=IMAGE + 1)

    again = formats.read_npz(str(tmp_path / "a.npz"))

    assert list(again) == ["b", "arr_0"] or list(again) == ["arr_0", "b"]
    assert is_same_array(again["b"], IMAGE + 1)


def test_a_png_with_a_palette_is_read_in_its_colours(tmp_path):
    """Numbers of palette entries are no picture."""
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png")

    assert formats.read_image(str(tmp_path / "a.png")).tolist() == [[[10, 20, 30], [200, 100, 50]]]


# -- other data -------------------------------------------------------------------------------------------------------


def test_pkl_gives_back_any_object(round_trip):
    data = {"a": [1, {2, 3}], "b": (None, b"\0"), "c": 1 + 2j}

    assert round_trip(data, ".pkl") == data


def test_pkl_is_read_by_plain_pickle(tmp_path):
    path = tmp_path / "a.pkl"
    with path.open("wb") as file:
        formats.write_pkl([1], file)

    assert pickle.loads(path.read_bytes()) == [1]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
                    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(TEXT, parts, max_size=3)))  # fmt: skip
def test_json_gives_back_every_document(data):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a.json")
        store(path, partial(formats.write_json, data))

        assert formats.read_json(path) == data


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_json_refuses_numbers_that_json_does_not_know(round_trip, number):
    with pytest.raises(ValueError, match="JSON"):
        round_trip({"a": [number]}, ".json")


@pytest.mark.parametrize("data", [{1, 2}, np.float32(1), b"a"])
def test_json_refuses_what_it_cannot_hold(round_trip, data):
    with pytest.raises(TypeError, match="JSON"):
        round_trip(data, ".json")


@pytest.mark.parametrize("suffix", [".json", ".txt"])
def test_text_that_utf_8_cannot_carry_is_refused(round_trip, suffix):
    with pytest.raises(UnicodeEncodeError):
        round_trip("\udcff", suffix)


@given(TEXT)
@example("a\r\nb\rc\n\x85\u2028\ufeff\0")
def test_txt_gives_back_every_text_line_ends_untouched(text):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a.txt")
        store(path, partial(formats.write_txt, text))

        assert formats.read_txt(path) == text


def test_csv_gives_back_a_table_without_its_index(round_trip):
    table = pd.DataFrame({"name": ["größe", "a,b", 'say "x"', "two\nlines"], "count": [1, 2, 3, 4]}, index=[7, 8, 9, 9])

    again = round_trip(table, ".csv")

    pd.testing.assert_frame_equal(again, table.reset_index(drop=True))


@settings(max_examples=50)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_csv_gives_back_numbers_bit_for_bit(numbers):
    """A step that writes a table and one that reads it must see the same numbers."""
    table = pd.DataFrame({"x": numbers})
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a.csv")
        store(path, partial(formats.write_csv, table))

        again = formats.read_csv(path)

    assert again["x"].tolist() == numbers


@pytest.mark.parametrize("verb", ["read", "write"])
def test_parquet_without_pyarrow_says_what_is_missing(tmp_path, monkeypatch, verb):
    path = tmp_path / "a.parquet"
    path.touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    call = {
        "read": lambda: formats.read_parquet(str(path)),
        "write": lambda: formats.write_parquet(pd.DataFrame({"a": [1]}), io.BytesIO()),
    }

    with pytest.raises(MissingExtraError, match=r"need pyarrow.*pip install 'luisy_dir\[parquet\]'"):
        call[verb]()


@pytest.mark.parametrize(
    ("suffix", "data"),
    [
        (".npy", IMAGE),
        (".npz", {"b": IMAGE, "a": IMAGE}),
        (".pkl", [IMAGE, "a"]),
        (".json", {"b": 1, "a": 2}),
        (".csv", pd.DataFrame({"a": [0.1]})),
        (".parquet", pd.DataFrame({"a": [0.1], "b": ["text"]})),
        (".feather", pd.DataFrame({"a": [0.1], "b": ["text"]})),
        (".hdf", pd.DataFrame({"a": [0.1], "b": ["text"]})),
        (".hdf", pd.DataFrame({"a": []}, index=pd.DatetimeIndex([]))),
        (".xlsx", pd.DataFrame({"a": [0.1], "b": ["text"]})),
        (".png", IMAGE),
        (".jpg", IMAGE),
        (".tif", IMAGE),
        (".txt", "a"),
    ],
)
def test_the_same_data_is_always_the_same_bytes(suffix, data):
    """Else a task that made the same result again would make everything after it stale."""
    first, second = io.BytesIO(), io.BytesIO()

    format_for(suffix).write(data, first)
    if suffix in {".hdf", ".xlsx"}:  # libraries that like to write the time of day
        time.sleep(2.1)
    format_for(suffix).write(data, second)

    assert first.getvalue() == second.getvalue()


def test_no_time_of_day_is_written_into_an_npz():
    file = io.BytesIO()

    formats.write_npz({"a": IMAGE}, file)

    assert {info.date_time for info in zipfile.ZipFile(file).infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_no_time_of_day_is_written_into_a_tif(tmp_path):
    with (tmp_path / "a.tif").open("wb") as file:
        formats.write_tif(IMAGE, file)

    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert "DateTime" not in tif.pages[0].tags


# -- which format -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "suffix",
    [".npy", ".npz", ".pkl", ".json", ".csv", ".parquet", ".feather", ".hdf", ".xlsx", ".png", ".jpg", ".tif", ".txt"],
)
def test_a_suffix_names_its_format(suffix):
    assert format_for(suffix).suffix == suffix


def test_a_format_stands_for_itself():
    mine = Format(str, print, ".mine")

    assert format_for(mine) is mine


def test_a_pair_of_functions_is_a_format_without_a_suffix():
    assert format_for((str, print)) == Format(str, print, "")


@pytest.mark.parametrize("wanted", [".xyz", "npy", "", None, 5, [".npy"], (str,), (str, print, ".a", 1), b".npy"])
def test_an_unknown_format_is_an_error_that_lists_the_known_ones(wanted):
    with pytest.raises(DefinitionError, match=r"\.csv, .*\.npy, .*register_format"):
        format_for(wanted)


def test_a_path_is_read_in_the_format_of_its_last_suffix():
    assert format_of_path("a.tar/b.c.npy") is format_for(".npy")


@pytest.mark.parametrize("path", ["a", "a.npy/b", "a.xyz", ".npy"])
def test_a_path_without_a_known_suffix_is_an_error(path):
    with pytest.raises(DefinitionError):
        format_of_path(path)


@pytest.mark.parametrize("pair", [(str, None), (None, print), ("read", "write")])
def test_a_format_needs_two_functions(pair):
    with pytest.raises(DefinitionError, match="two functions"):
        Format(*pair)


@pytest.mark.parametrize("suffix", ["npy", ".", "./a", ".a/b", "a.npy"])
def test_a_suffix_is_written_with_its_dot(suffix):
    with pytest.raises(DefinitionError, match="with its dot"):
        Format(str, print, suffix)


@pytest.mark.usefixtures("own_formats")
def test_a_suffix_becomes_known_in_one_line(round_trip):
    register_format(".bits", lambda path: np.fromfile(path, "uint8"), lambda data, file: file.write(bytes(data)))

    assert round_trip(np.arange(3, dtype="uint8"), ".bits").tolist() == [0, 1, 2]


@pytest.mark.usefixtures("own_formats")
def test_the_registered_formats_are_all_that_are_known():
    mine = register_format(".mine", str, print)

    known = registered_formats()

    assert known[".mine"] is mine
    assert all(format_for(suffix) is format for suffix, format in known.items())


@pytest.mark.usefixtures("own_formats")
def test_the_registered_formats_are_a_copy():
    registered_formats().clear()

    assert format_for(".npy").suffix == ".npy"


@pytest.mark.usefixtures("own_formats")
def test_a_suffix_that_is_registered_again_is_replaced():
    mine = register_format(".npy", str, print)

    assert format_for(".npy") is mine


@pytest.mark.usefixtures("own_formats")
def test_what_cannot_be_a_format_is_not_registered():
    with pytest.raises(DefinitionError):
        register_format("bits", str, print)

    with pytest.raises(DefinitionError):
        format_for("bits")
