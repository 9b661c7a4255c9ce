"""Images: loaded, written, changed and measured, and nobody's array is touched."""

from __future__ import annotations

import io
import operator
import os
import pickle
import struct
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import tifffile
from conftest import files_below
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from misbehaving_server import always, closes_midway, first, serving
from PIL import Image
from skimage import data, transform

import luisy_dir as luisy
from luisy_dir import formats, images
from luisy_dir.code import of_function
from luisy_dir.errors import ImageError, ItemsFailedError, MissingInputError, WebError
from luisy_dir.images import files
from luisy_dir.storage import system

PHOTOGRAPH = transform.resize(data.astronaut(), (64, 48), preserve_range=True).round().astype("uint8")

# Each function of an image, as a step would have it.
STEPS = {
    "resize": partial(images.resize, shape=(5, 7)),
    "resize to its own size": lambda image: images.resize(image, shape=image.shape[:2]),
    "min_dim": partial(images.resize, min_dim=4),
    "center_crop": partial(images.center_crop, fraction=0.5),
    "all of it": partial(images.center_crop, fraction=1),
    "trim_padding": partial(images.trim_padding, comparison=operator.gt, threshold=2),
    "flip_horizontal": images.flip_horizontal,
    "flip_vertical": images.flip_vertical,
    "rotate_90": images.rotate_90,
    "rotate_180": images.rotate_180,
    "rotate_270": images.rotate_270,
    "normalize": images.normalize,
    "to_grayscale": images.to_grayscale,
}
MEASURES = {"mean_brightness": images.mean_brightness, "difference_hash": images.difference_hash}
KEEP_THE_DTYPE = STEPS.keys() - {"normalize"}


def any_image(dtypes=("uint8", "uint16", "bool", "float32", "float64"), channels=(None, 1, 2, 3, 4)):
    """Small images of every shape and dtype that is one; floats lie from 0 to 1."""

    def of(dtype, shape, channel):
        values = {"min_value": 0, "max_value": 1} if dtype.startswith("float") else {}
        if values:
            values["width"] = int(dtype[5:])
        elements = st.floats(**values) if values else nps.from_dtype(np.dtype(dtype))
        return nps.arrays(dtype, shape if channel is None else (*shape, channel), elements=elements)

    sides = st.tuples(st.integers(1, 12), st.integers(1, 12))
    return st.tuples(st.sampled_from(dtypes), sides, st.sampled_from(channels)).flatmap(lambda facts: of(*facts))


class TestEveryFunction:
    @pytest.mark.parametrize("step", [*STEPS, *MEASURES])
    @settings(max_examples=25)
    @given(image=any_image())
    def test_the_array_of_the_caller_is_never_changed(self, step, image):
        before = image.copy()

        image.flags.writeable = False  # whoever tries is caught in the act
        (STEPS | MEASURES)[step](image)

        assert np.array_equal(image, before)

    @pytest.mark.parametrize("step", STEPS)
    @settings(max_examples=25)
    @given(image=any_image())
    def test_what_it_returns_is_the_callers_own(self, step, image):
        """Changing the result changes nothing else, and keeps no large original in memory."""
        result = STEPS[step](image)

        assert not np.shares_memory(result, image)
        assert result.flags.writeable
        assert result.base is None or result.base.nbytes == result.nbytes

    @pytest.mark.parametrize("step", sorted(KEEP_THE_DTYPE))
    @settings(max_examples=25)
    @given(image=any_image())
    def test_the_dtype_is_kept(self, step, image):
        assert STEPS[step](image).dtype == image.dtype

    @pytest.mark.parametrize("step", sorted(STEPS.keys() - {"to_grayscale"}))
    @settings(max_examples=25)
    @given(image=any_image())
    def test_channels_stay_where_they_are(self, step, image):
        assert STEPS[step](image).shape[2:] == image.shape[2:]

    @pytest.mark.parametrize("step", [*STEPS, *MEASURES])
    @pytest.mark.parametrize(
        "no_image",
        [
            np.zeros(3),
            np.zeros((2, 2, 2, 2)),
            np.zeros((0, 4)),
            np.zeros((2, 2), dtype="complex128"),
            np.array([["a"]]),
            np.array([[None]]),
            np.ma.masked_equal(np.eye(3), 0),
            3,
        ],
        ids=["one axis", "four axes", "nothing", "complex", "text", "objects", "masked", "a number"],
    )
    def test_what_is_no_image_is_refused(self, step, no_image):
        with pytest.raises((ImageError, AttributeError)) as caught:  # a lambda above asks 3 for its shape
            (STEPS | MEASURES)[step](no_image)

        if caught.type is ImageError:
            assert "is no image" in str(caught.value)

    @pytest.mark.parametrize("step", [name for name in STEPS if isinstance(STEPS[name], partial)])
    def test_as_a_step_it_counts_with_its_arguments(self, step):
        """Another size makes the results of a task stale, and the same one does not."""
        function = STEPS[step]
        name = next(iter(function.keywords))
        other = partial(function, **{name: "another"})

        assert of_function(function) == of_function(partial(function))
        assert of_function(function) != of_function(other)

    def test_it_crosses_to_a_worker(self):
        for step in [step for name, step in STEPS.items() if name != "resize to its own size"]:
            assert pickle.loads(pickle.dumps(step))(PHOTOGRAPH).size


class TestGeometry:
    @given(image=any_image())
    def test_four_quarters_are_a_whole_turn(self, image):
        turned = image
        for _ in range(4):
            turned = images.rotate_90(turned)
        assert np.array_equal(turned, image)

    @given(image=any_image())
    def test_turns_add_up(self, image):
        assert np.array_equal(images.rotate_180(image), images.rotate_90(images.rotate_90(image)))
        assert np.array_equal(images.rotate_270(image), images.rotate_180(images.rotate_90(image)))

    @pytest.mark.parametrize("flip", [images.flip_horizontal, images.flip_vertical])
    @given(image=any_image())
    def test_what_is_flipped_twice_is_as_it_was(self, flip, image):
        assert np.array_equal(flip(flip(image)), image)

    @given(image=any_image())
    def test_both_flips_are_half_a_turn(self, image):
        assert np.array_equal(images.flip_horizontal(images.flip_vertical(image)), images.rotate_180(image))

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (images.rotate_90, [[2, 4], [1, 3]]),
            (images.rotate_180, [[4, 3], [2, 1]]),
            (images.rotate_270, [[3, 1], [4, 2]]),
            (images.flip_horizontal, [[2, 1], [4, 3]]),
            (images.flip_vertical, [[3, 4], [1, 2]]),
        ],
    )
    def test_directions(self, change, expected):
        assert change([[1, 2], [3, 4]]).tolist() == expected

    @pytest.mark.parametrize(
        ("shape", "arguments", "expected"),
        [
            ((32, 32, 3), {"shape": (5, 8)}, (5, 8, 3)),
            ((32, 32), {"min_dim": 50}, (50, 50)),
            ((34, 25), {"min_dim": 50}, (68, 50)),
            ((25, 34), {"min_dim": 50}, (50, 68)),
            ((300, 400, 3), {"min_dim": 50}, (50, 66, 3)),
            ((100, 67, 4), {"min_dim": 67}, (100, 67, 4)),
            ((1, 9), {"min_dim": 1}, (1, 9)),
        ],
    )
    def test_sizes(self, shape, arguments, expected):
        assert images.resize(np.zeros(shape, dtype="uint8"), **arguments).shape == expected

    @given(image=any_image(), min_dim=st.integers(1, 30))
    def test_the_shorter_side_is_as_asked_and_the_other_no_shorter(self, image, min_dim):
        assert min(images.resize(image, min_dim=min_dim).shape[:2]) == min_dim

    @given(image=any_image(), rows=st.integers(1, 20), columns=st.integers(1, 20))
    def test_no_value_leaves_the_range_of_the_image(self, image, rows, columns):
        """Whole numbers are rounded, and neither wrapped nor cut."""
        resized = images.resize(image, shape=(rows, columns))

        assert image.min() <= resized.min()
        assert resized.max() <= image.max()

    @given(value=st.integers(0, 255), rows=st.integers(1, 20))
    def test_an_even_area_stays_even(self, value, rows):
        resized = images.resize(np.full((6, 9, 3), value, dtype="uint8"), shape=(rows, 5))
        assert (resized == value).all()

    @pytest.mark.parametrize(
        "arguments",
        [{}, {"shape": (2, 2), "min_dim": 2}]
        + [{"shape": wrong} for wrong in (5, (5,), (5, 0), (5, -1), (5, 2.5), (5, 5, 3), "55", (True, 2))]
        + [{"min_dim": wrong} for wrong in (0, -3, 2.5, "5", True)],
        ids=str,
    )
    def test_a_size_that_says_nothing_certain_is_refused(self, arguments):
        with pytest.raises(ValueError, match=r"resize (got|needs)"):
            images.resize(PHOTOGRAPH, **arguments)

    @pytest.mark.parametrize(
        ("shape", "fraction", "expected"),
        [
            ((32, 32, 3), 0.5, (16, 16, 3)),
            ((34, 25), 0.5, (17, 12)),
            ((32, 32), 0.6, (19, 19)),
            ((1, 3), 0.01, (1, 1)),
            ((7, 9), 1, (7, 9)),
        ],
    )
    def test_a_crop_is_a_fraction_of_each_side(self, shape, fraction, expected):
        assert images.center_crop(np.zeros(shape), fraction).shape == expected

    def test_a_crop_is_the_middle(self):
        image = np.arange(64).reshape(8, 8)
        assert np.array_equal(images.center_crop(image, 0.5), image[2:6, 2:6])

    @pytest.mark.parametrize("fraction", [0, -0.5, 1.01, 2, float("nan")])
    def test_a_fraction_that_is_none_is_refused(self, fraction):
        with pytest.raises(ImageError, match="center_crop got"):
            images.center_crop(PHOTOGRAPH, fraction)

    def test_bright_padding_is_trimmed(self):
        image = data.astronaut()[100:132, 200:232]
        image = np.minimum(image, 200)
        padded = np.empty((32 + 7 + 11, 32 + 13 + 17, 3), dtype="uint8")
        padded[:] = (251, 252, 253)
        padded[7 : 7 + 32, 13 : 13 + 32] = image

        assert np.array_equal(images.trim_padding(padded, operator.gt, 0.95), image)

    def test_dark_padding_is_trimmed(self):
        image = np.maximum(PHOTOGRAPH, 60)
        padded = np.pad(image, ((3, 3), (3, 3), (0, 0)))

        assert np.array_equal(images.trim_padding(padded, operator.lt, 0.05), image)

    def test_what_looks_like_padding_amid_the_image_stays(self):
        image = np.full((5, 5), 0.5)
        image[2, :] = 1

        assert np.array_equal(images.trim_padding(image, operator.gt, 0.9), image)

    def test_an_image_that_is_all_padding_is_refused(self):
        """An image of no rows would fail later, where nobody knows why."""
        with pytest.raises(ImageError, match="nothing would be left"):
            images.trim_padding(np.ones((3, 3)), operator.gt, 0.95)


class TestPixels:
    @pytest.mark.parametrize(("dtype", "white"), [("uint8", 255), ("uint16", 65535), ("bool", True), ("float32", 1.0)])
    def test_white_is_one(self, dtype, white):
        assert images.normalize(np.array([[0, white]], dtype=dtype)).tolist() == [[0.0, 1.0]]

    def test_a_dark_image_stays_dark(self):
        """The dtype says what white is, and not the brightest pixel: 1 of 255 is nearly black."""
        assert images.normalize(np.array([[0, 1]], dtype="uint8")).max() == pytest.approx(1 / 255)

    @given(image=any_image())
    def test_values_lie_from_0_to_1(self, image):
        values = images.normalize(image)
        assert values.dtype.kind == "f"
        assert values.min() >= 0
        assert values.max() <= 1

    @pytest.mark.parametrize("value", [255.0, 1.1, -0.2, float("nan"), float("inf")])
    @pytest.mark.parametrize("function", [images.normalize, images.difference_hash])
    def test_floats_that_do_not_say_what_white_is_are_refused(self, function, value):
        with pytest.raises(ImageError, match="from 0 to 1"):
            function(np.array([[0.5, value]]))

    def test_signed_integers_do_not_say_what_white_is_either(self):
        with pytest.raises(ImageError, match="which value is white"):
            images.normalize(np.array([[0, 255]]))

    @pytest.mark.parametrize(
        ("colour", "grey"), [((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29), ((255, 255, 255), 255)]
    )
    def test_grey_is_the_luma_of_bt_601(self, colour, grey):
        image = np.array([[colour]], dtype="uint8")

        assert images.to_grayscale(image).tolist() == [[grey]]
        assert images.to_grayscale(np.dstack([image, [[0]]]).astype("uint8")).tolist() == [
            [grey]
        ]  # alpha does not count

    def test_grey_is_what_pillow_calls_so(self):
        grey = images.to_grayscale(PHOTOGRAPH).astype(int)
        assert abs(grey - np.array(Image.fromarray(PHOTOGRAPH).convert("L"))).max() <= 1

    @pytest.mark.parametrize("channels", [1, 2])
    def test_what_is_grey_already_is_its_first_channel(self, channels):
        image = PHOTOGRAPH[..., :channels]
        assert np.array_equal(images.to_grayscale(image), image[..., 0])

    def test_more_channels_have_no_grey(self):
        with pytest.raises(ImageError, match="5 channels"):
            images.to_grayscale(np.zeros((2, 2, 5)))

    def test_brightness_is_the_mean_of_grey(self):
        assert images.mean_brightness([[0, 0, 0], [1, 1, 1]]) == 0.5
        assert images.mean_brightness(np.full((3, 4, 3), 200, dtype="uint8")) == 200
        assert images.mean_brightness(np.array([[True, False]])) == 0.5
        assert type(images.mean_brightness(PHOTOGRAPH)) is float

    def test_the_mean_of_small_floats_is_that_of_large_ones(self):
        image = np.random.default_rng(0).random((300, 300), dtype="float32")
        assert images.mean_brightness(image) == pytest.approx(image.astype("float64").mean(), rel=1e-12)

    def test_a_large_bright_image_does_not_overflow(self):
        assert images.mean_brightness(np.full((2000, 2000), 60000, dtype="uint16")) == 60000
        assert images.mean_brightness(np.full((600, 600), 1.0, dtype="float16")) == 1

    def test_near_duplicates_have_near_hashes_and_others_have_not(self):
        photographs = [getattr(data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")]
        hashes = [images.difference_hash(each) for each in photographs]
        small = [images.difference_hash(images.resize(each, shape=(24, 24))) for each in photographs]

        for place, value in enumerate(hashes):
            assert value < 2**64
            assert (value ^ small[place]).bit_count() < 10
            assert all((value ^ other).bit_count() > 10 for other in hashes[:place])

    def test_a_hash_does_not_see_brightness_and_dtype(self):
        value = images.difference_hash(PHOTOGRAPH)

        assert (value ^ images.difference_hash(PHOTOGRAPH // 2 + 40)).bit_count() < 10
        assert (value ^ images.difference_hash(PHOTOGRAPH / 255)).bit_count() <= 2
        assert value == images.difference_hash(np.dstack([PHOTOGRAPH, PHOTOGRAPH[..., 0]]))

    @pytest.mark.parametrize("shape", [(301, 207), (64, 48), (100, 777), (500, 500)])
    def test_where_rows_are_even_no_noise_of_the_arithmetic_decides(self, shape):
        image = np.full(shape, 0.1)
        image[shape[0] // 2 :] = 0.7

        assert images.difference_hash(image) == 0

    @pytest.mark.parametrize("size", [1, 3, 8, 16])
    def test_a_hash_has_as_many_bits_as_asked(self, size):
        ramp = np.tile(np.linspace(0, 1, 200), (100, 1))
        assert images.difference_hash(ramp, size=size) == 2 ** (size * size) - 1

    def test_the_first_bit_is_the_most_significant(self):
        image = np.array([[0, 255, 0], [0, 0, 0]], dtype="uint8")
        assert images.difference_hash(image, size=2) == 0b1000

    @pytest.mark.parametrize("size", [0, -1, 2.5, "8", True])
    def test_a_size_of_a_hash_that_is_none_is_refused(self, size):
        with pytest.raises(ImageError, match="difference_hash got"):
            images.difference_hash(PHOTOGRAPH, size=size)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, format=kind, **options)
    return buffer.getvalue()


class TestLoading:
    @pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255)])
    @pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "WEBP", "PPM"])
    def test_colours_are_red_green_and_blue(self, tmp_path, colour, kind):
        (tmp_path / "a").write_bytes(encoded(Image.new("RGB", (5, 4), colour), kind, lossless=True))

        image = images.load_image(tmp_path / "a")

        assert (image.shape, image.dtype) == ((4, 5, 3), "uint8")
        assert (image == colour).all()

    @pytest.mark.parametrize(
        ("mode", "shape", "dtype"),
        [
            ("L", (34, 25), "uint8"),
            ("RGB", (34, 25, 3), "uint8"),
            ("RGBA", (34, 25, 4), "uint8"),
            ("LA", (34, 25, 2), "uint8"),
            ("1", (34, 25), "bool"),
            ("I;16", (34, 25), "uint16"),
            ("P", (34, 25, 3), "uint8"),
        ],
    )
    def test_shape_and_dtype_are_those_of_the_file(self, tmp_path, mode, shape, dtype):
        (tmp_path / "a.png").write_bytes(encoded(Image.new(mode, (25, 34)), "PNG"))

        image = images.load_image(str(tmp_path / "a.png"))

        assert (image.shape, image.dtype) == (shape, dtype)

    def test_a_jpeg_of_the_press_becomes_red_green_and_blue(self, tmp_path):
        """CMYK has four channels, and would pass for RGBA."""
        (tmp_path / "a.jpg").write_bytes(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95))

        image = images.load_image(tmp_path / "a.jpg")

        assert image.shape == (8, 8, 3)
        assert abs(image.astype(int) - (254, 0, 0)).max() < 5

    def test_the_content_says_what_it_is_and_not_the_suffix(self, tmp_path):
        (tmp_path / "a.jpg").write_bytes(encoded(PHOTOGRAPH, "PNG"))
        assert np.array_equal(images.load_image(tmp_path / "a.jpg"), PHOTOGRAPH)

    @pytest.mark.parametrize("bigtiff", [False, True])
    @pytest.mark.parametrize("byteorder", ["<", ">"])
    def test_a_tiff_of_any_numbers_is_read(self, tmp_path, bigtiff, byteorder):
        image = np.linspace(-3, 70000, 12, dtype="float32").reshape(4, 3)
        tifffile.imwrite(tmp_path / "a.tif", image, bigtiff=bigtiff, byteorder=byteorder)
        assert np.array_equal(images.load_image(tmp_path / "a.tif"), image)

    @pytest.mark.parametrize("shape", [(4, 3, 2), (5, 7, 3), (3, 9, 9), (2, 3, 5)])
    def test_a_tiff_of_channels_is_read_as_it_was_written(self, tmp_path, shape):
        image = np.arange(np.prod(shape), dtype="float32").reshape(shape)
        images.write_image(image, tmp_path / "a.tif")
        assert np.array_equal(images.load_image(tmp_path / "a.tif"), image)

    def test_an_array_of_four_axes_is_no_image(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 3, 4, 5), dtype="uint8"), photometric="minisblack")
        with pytest.raises(ImageError, match=r"a\.tif"):
            images.load_image(tmp_path / "a.tif")

    @pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits", "jpeg"])
    def test_a_tiff_may_be_compressed(self, tmp_path, compression):
        (tmp_path / "a.tif").write_bytes(encoded(PHOTOGRAPH, "TIFF", compression=compression))
        image = images.load_image(tmp_path / "a.tif")
        assert image.shape == PHOTOGRAPH.shape
        assert abs(image.astype(int) - PHOTOGRAPH).mean() < (20 if compression == "jpeg" else 1e-9)

    @pytest.mark.parametrize("mode", ["P", "CMYK", "1", "LA"])
    def test_colours_of_a_tiff_are_decoded(self, tmp_path, mode):
        """Numbers of a palette, inks, and white that is zero are no colours."""
        image = Image.fromarray(PHOTOGRAPH).convert("L").convert(mode)
        (tmp_path / "a.tif").write_bytes(encoded(image, "TIFF"))

        assert np.array_equal(
            images.load_image(tmp_path / "a.tif"), formats.read_image(io.BytesIO(encoded(image, "TIFF")))
        )

    def test_white_may_be_zero(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", 255 - PHOTOGRAPH[..., 0], photometric="miniswhite")
        assert np.array_equal(images.load_image(tmp_path / "a.tif"), PHOTOGRAPH[..., 0])

    def test_bits_are_not_lost_without_a_word(self, tmp_path, monkeypatch):
        """Pillow makes 8 bits of the 16 of a colour TIFF, which tifffile may not be able to decompress."""
        tifffile.imwrite(tmp_path / "a.tif", PHOTOGRAPH.astype("uint16") * 257, photometric="rgb")
        assert images.load_image(tmp_path / "a.tif").dtype == "uint16"

        monkeypatch.setattr(tifffile.TiffPage, "asarray", lambda *_, **__: int("needs imagecodecs"))
        monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", lambda *_, **__: int("needs imagecodecs"))
        with pytest.raises(ImageError, match="dtype uint16 cannot be decoded in full"):
            images.load_image(tmp_path / "a.tif")

    def test_of_several_images_in_one_file_it_is_the_first(self, tmp_path):
        """A stack of pages would pass for an image of other rows and columns."""
        pages = [Image.fromarray(PHOTOGRAPH), Image.fromarray(PHOTOGRAPH[::-1])]
        for kind in ("TIFF", "PNG", "WEBP"):
            (tmp_path / "a").write_bytes(encoded(pages[0], kind, save_all=True, append_images=pages[1:], lossless=True))
            assert np.array_equal(images.load_image(tmp_path / "a"), PHOTOGRAPH), kind

    def test_a_tiff_with_one_plane_a_colour_has_its_channels_last(self, tmp_path):
        planes = np.moveaxis(PHOTOGRAPH, -1, 0)
        tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate", metadata=None)
        assert np.array_equal(images.load_image(tmp_path / "a.tif"), PHOTOGRAPH)

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"])
    @pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
    def test_a_part_of_an_image_is_an_error(self, tmp_path, kind, part):
        """A download that broke off must not pass for a picture with a grey lower half."""
        content = encoded(data.astronaut(), kind)
        (tmp_path / "broken.jpg").write_bytes(content[: int(len(content) * part)])

        with pytest.raises(ImageError, match=r"broken\.jpg"):
            images.load_image(tmp_path / "broken.jpg")

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"<html>not found</html>",
            b"\x89PNG\r\n\x1a\n",
            b"II*\0",
            b"MM\0*\xff\xff\xff\xff",
            b"GIF89a",
            b"\xff\xd8\xff",
            b"BM" + b"\0" * 60,
            bytes(1000),
        ],
    )
    def test_what_is_no_image_is_an_error_that_names_the_file(self, tmp_path, content):
        (tmp_path / "bad.png").write_bytes(content)

        with pytest.raises(ImageError, match=r"bad\.png"):
            images.load_image(tmp_path / "bad.png")

    @given(cut=st.integers(0, 2000), junk=st.binary(max_size=8))
    def test_no_garbage_raises_anything_else(self, tmp_path_factory, cut, junk):
        content = bytearray(encoded(PHOTOGRAPH, "PNG"))
        content[cut : cut + len(junk)] = junk
        path = tmp_path_factory.getbasetemp() / "garbage.png"
        path.write_bytes(content)

        try:
            assert images.load_image(path).ndim in {2, 3}
        except ImageError as error:
            assert "garbage.png" in str(error)  # noqa: PT017 - either is right

    def test_an_image_as_large_as_a_house_in_a_few_bytes_is_an_error(self, tmp_path):
        size = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
        chunks = [(b"IHDR", size), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
        packed = [
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
            for kind, content in chunks
        ]
        (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))

        with pytest.raises(ImageError, match=r"bomb\.png.*DecompressionBomb"):
            images.load_image(tmp_path / "bomb.png")

    def test_a_file_that_is_not_there_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"nothing\.png"):
            images.load_image(tmp_path / "nothing.png")

    @pytest.mark.parametrize("path", ["s3://bucket/a.png", "file:///a.png", "gs://b/a.png"])
    def test_another_scheme_is_no_local_folder(self, tmp_path, monkeypatch, path):
        monkeypatch.chdir(tmp_path)

        for use in (images.load_image, partial(images.write_image, PHOTOGRAPH), images.image_files):
            with pytest.raises(ImageError, match="is no path"):
                use(path)
        assert os.listdir(tmp_path) == []


class TestTheWeb:
    def test_an_image_is_loaded_from_a_url(self):
        with serving(a=first(1, always(503), always(body=encoded(PHOTOGRAPH, "PNG")))) as server:
            assert np.array_equal(images.load_image(server.url("a?size=large")), PHOTOGRAPH)

    def test_an_empty_body_is_an_error_that_names_the_url(self):
        with serving(a=always()) as server, pytest.raises(ImageError, match=r"http://127\.0\.0\.1:\d+/a' is empty"):
            images.load_image(server.url("a"))

    def test_a_page_in_the_place_of_an_image_is_an_error_that_names_the_url(self):
        page = b"<!DOCTYPE html><title>Log in</title>"
        with serving(a=always(body=page)) as server, pytest.raises(ImageError, match=r"http://127.*DOCTYPE"):
            images.load_image(server.url("a"))

    def test_a_url_that_cannot_be_read_is_an_error_of_the_web(self):
        with serving(a=closes_midway) as server, pytest.raises(WebError):
            images.load_image(server.url("a"), retries=0)


class TestWriting:
    @pytest.mark.parametrize("suffix", [".png", ".PNG", ".tif", ".tiff"])
    def test_what_is_written_without_loss_is_read_again(self, tmp_path, suffix):
        images.write_image(PHOTOGRAPH, tmp_path / f"a{suffix}")
        assert np.array_equal(images.load_image(tmp_path / f"a{suffix}"), PHOTOGRAPH)

    @pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPG", ".jpe", ".jfif"])
    def test_a_jpeg_is_one_whatever_its_suffix(self, tmp_path, suffix):
        images.write_image(PHOTOGRAPH, tmp_path / f"a{suffix}")

        assert (tmp_path / f"a{suffix}").read_bytes().startswith(b"\xff\xd8\xff")
        assert abs(images.load_image(tmp_path / f"a{suffix}").astype(int) - PHOTOGRAPH).mean() < 5

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
    def test_floats_from_0_to_1_are_written_as_0_to_255(self, tmp_path, dtype):
        """And not as 0 and 1, which is black."""
        images.write_image(images.normalize(PHOTOGRAPH).astype(dtype), tmp_path / "a.png")
        assert abs(images.load_image(tmp_path / "a.png").astype(int) - PHOTOGRAPH).max() <= (dtype == "float16")

    def test_floats_are_kept_where_the_format_holds_them(self, tmp_path):
        image = images.normalize(PHOTOGRAPH) * 7
        images.write_image(image, tmp_path / "a.tif")
        assert np.array_equal(images.load_image(tmp_path / "a.tif"), image)

    @pytest.mark.parametrize("name", ["a.png", "a.jpg"])
    def test_true_is_white(self, tmp_path, name):
        image = np.kron(np.eye(2, dtype=bool), np.ones((8, 8), dtype=bool))  # in squares, as JPEG has it

        images.write_image(image, tmp_path / name)

        assert np.array_equal(images.to_grayscale(images.load_image(tmp_path / name)).astype(bool), image)
        assert Image.open(tmp_path / name).convert("L").getextrema() == (0, 255)

    def test_one_channel_is_grey(self, tmp_path):
        images.write_image(PHOTOGRAPH[..., :1], tmp_path / "a.png")
        assert np.array_equal(images.load_image(tmp_path / "a.png"), PHOTOGRAPH[..., 0])

    @pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
    @given(image=any_image(dtypes=("uint8", "float64"), channels=(None, 1, 3)))
    def test_the_array_of_the_caller_is_never_changed(self, tmp_path_factory, name, image):
        before = image.copy()
        image.flags.writeable = False

        images.write_image(image, tmp_path_factory.getbasetemp() / name)

        assert np.array_equal(image, before)

    @pytest.mark.parametrize(
        ("image", "name", "words"),
        [
            (PHOTOGRAPH / 1.0, "a.png", "from 0 to 1"),
            (PHOTOGRAPH.astype("int64"), "a.png", "without changing its values"),
            (PHOTOGRAPH.astype("uint16"), "a.png", "without changing its values"),
            (np.zeros((4, 4, 4), dtype="uint8"), "a.jpg", "without changing its values"),
            (np.full((4, 4), np.nan), "a.png", "from 0 to 1"),
            (np.zeros(4), "a.png", "is no image"),
            (np.zeros((0, 4)), "a.tif", "is no image"),
            (PHOTOGRAPH, "a.xyz", r"suffix '\.xyz'"),
            (PHOTOGRAPH, "a", "suffix ''"),
            (PHOTOGRAPH, "a.npy", r"suffix '\.npy'"),
            (PHOTOGRAPH, "a.gif", r"suffix '\.gif'"),
        ],
    )
    def test_what_cannot_be_written_is_an_error_that_names_the_file(self, tmp_path, image, name, words):
        with pytest.raises(ImageError, match=rf"/{name}' was not written.*{words}"):
            images.write_image(image, tmp_path / name)

        assert os.listdir(tmp_path) == []

    def test_a_format_that_was_made_known_is_used(self, tmp_path, monkeypatch):
        monkeypatch.setattr(formats, "_FORMATS", dict(formats._FORMATS))
        luisy.register_format(".bmp", formats.read_image, lambda image, file: Image.fromarray(image).save(file, "BMP"))

        images.write_image(PHOTOGRAPH, tmp_path / "a.bmp")

        assert np.array_equal(images.load_image(tmp_path / "a.bmp"), PHOTOGRAPH)

    def test_missing_folders_are_made(self, tmp_path):
        images.write_image(PHOTOGRAPH, tmp_path / "deep" / "down" / "a.png")
        assert files_below(tmp_path) == ["deep/down/a.png"]

    def test_a_path_may_be_relative(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        images.write_image(PHOTOGRAPH, "a.png")
        assert os.listdir(tmp_path) == ["a.png"]

    def test_a_name_as_long_as_can_be_is_written(self, tmp_path):
        name = "x" * 251 + ".png"
        images.write_image(PHOTOGRAPH, tmp_path / name)
        assert os.listdir(tmp_path) == [name]

    def test_a_folder_in_its_place_is_an_error_that_leaves_nothing(self, tmp_path):
        (tmp_path / "a.png").mkdir()

        with pytest.raises(IsADirectoryError, match=r"a\.png"):
            images.write_image(PHOTOGRAPH, tmp_path / "a.png")

        assert os.listdir(tmp_path) == ["a.png"]

    @pytest.mark.parametrize("call", ["open", "write", "close", "rename", "fsync"])
    def test_where_the_disk_fails_the_old_image_stays_and_nothing_else(self, tmp_path, monkeypatch, call):
        images.write_image(PHOTOGRAPH, tmp_path / "a.png")
        real = getattr(system, call)

        def fail(*arguments):
            if call == "close":
                real(*arguments)
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(system, call, fail)
        with pytest.raises(OSError, match="No space"):
            images.write_image(PHOTOGRAPH[::-1], tmp_path / "a.png", sync=True)
        monkeypatch.undo()

        assert os.listdir(tmp_path) == ["a.png"]
        assert np.array_equal(images.load_image(tmp_path / "a.png"), PHOTOGRAPH)

    def test_a_hundred_threads_write_one_file_a_thousand_times_and_readers_see_whole_images(self, tmp_path):
        path, candidates = tmp_path / "a.png", [np.full((32, 32, 3), value, dtype="uint8") for value in range(100)]
        images.write_image(candidates[0], path)
        seen, is_over = [], threading.Event()

        def look():
            while not is_over.is_set():
                seen.append(images.load_image(path))

        reader = threading.Thread(target=look)
        reader.start()
        with ThreadPoolExecutor(100) as threads:
            done = [threads.submit(images.write_image, candidates[number % 100], path) for number in range(1000)]
        is_over.set()
        reader.join()

        assert [each.exception() for each in done if each.exception()] == []
        assert os.listdir(tmp_path) == ["a.png"]
        assert images.load_image(path).shape == (32, 32, 3)
        assert all(image.shape == (32, 32, 3) and (image == image[0, 0]).all() for image in seen)

    def test_a_writer_that_is_killed_leaves_no_image_that_is_not_whole(self, tmp_path):
        code = (
            "import os, sys, numpy\n"
            "from luisy_dir import images\n"
            "from luisy_dir.storage import system\n"
            "system.rename = lambda *_: os._exit(9)\n"
            "images.write_image(numpy.zeros((9, 9), 'uint8'), sys.argv[1])\n"
        )
        done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.png"], check=False)

        assert done.returncode == 9
        assert images.image_files(tmp_path) == []
        assert all(name.startswith(".") for name in os.listdir(tmp_path))  # hidden: no item, no image


class TestListing:
    def test_images_are_found_wherever_they_lie_and_sorted(self, tmp_path, write_files):
        names = ["b.png", "b-c.png", "a/z.JPG", "a/b/c.Jpeg", "a.tiff", "d.webp", "e.gif", "f.bmp", "g.PNG"]
        others = ["h.txt", "png", "i.png.zip", "j.pdf", "k.hdf", "l.npy"]
        write_files(tmp_path, dict.fromkeys(names + others, b""))

        found = images.image_files(tmp_path)

        assert found == [str(tmp_path / name) for name in sorted(names)]

    def test_hidden_files_are_none(self, tmp_path, write_files):
        write_files(tmp_path, {".a.png": b"", ".cache/b.png": b"", "c.png": b""})
        assert images.image_files(tmp_path) == [str(tmp_path / "c.png")]

    def test_a_folder_that_is_not_there_is_an_error(self, tmp_path):
        with pytest.raises(MissingInputError, match="nowhere"):
            images.image_files(tmp_path / "nowhere")

    def test_an_empty_folder_has_none(self, tmp_path):
        assert images.image_files(tmp_path) == []

    def test_names_that_are_not_text_can_be_opened(self, tmp_path):
        name = os.fsdecode(b"\xff.png")
        images.write_image(PHOTOGRAPH, tmp_path / name)

        assert [images.load_image(path).shape for path in images.image_files(tmp_path)] == [PHOTOGRAPH.shape]

    def test_each_suffix_is_one_that_pillow_can_read(self):
        kinds = Image.registered_extensions()
        assert {kinds[suffix] for suffix in files.image_suffixes()} >= {"PNG", "JPEG", "TIFF", "GIF", "BMP", "PPM"}
        assert not {".pdf", ".h5", ".hdf", ".eps", ".mpg"} & files.image_suffixes()


@luisy.make_directory_output(images.load_image)
@luisy.raw
class PhotographsToThumb(luisy.ExternalTask):
    def get_folder_name(self):
        return "photographs"


def note(image, item):
    item.meta["brightness"] = images.mean_brightness(image)
    return image


@luisy.interim
@luisy.requires(PhotographsToThumb)
@luisy.directory_output(
    ".png", engine="serial", pre=partial(images.resize, min_dim=24), post=[note, images.flip_horizontal]
)
class MirroredThumbs(luisy.DirectoryTask):
    def process(self, image):
        return image


@luisy.final
@luisy.requires(PhotographsToThumb)
@luisy.directory_output(".png", engine="serial", post=images.normalize)
class FloatThumbs(luisy.DirectoryTask):
    def process(self, image):
        return image


class TestInATask:
    def test_functions_of_images_are_the_steps_of_a_task(self):
        for number in range(3):
            bright = np.full((40, 30, 3), 50 * number, dtype="uint8")
            images.write_image(bright, f"{PhotographsToThumb().output().path}/{number}.png")

        MirroredThumbs().run()

        assert [image.shape for image in MirroredThumbs().read()] == [(32, 24, 3)] * 3
        assert MirroredThumbs().report()["brightness"].to_list() == [0, 50, 100]

    def test_a_download_that_broke_off_is_a_failed_item_that_is_named(self, write_files):
        content = encoded(PHOTOGRAPH, "JPEG")
        half = content[: len(content) // 2]
        write_files(PhotographsToThumb().output().path, {"whole.jpg": content, "half.jpg": half})

        with pytest.raises(ItemsFailedError, match=r"half\.jpg"):
            MirroredThumbs().run()

    def test_floats_are_refused_by_the_format_of_a_task_rather_than_written_black(self):
        images.write_image(PHOTOGRAPH, f"{PhotographsToThumb().output().path}/a.png")

        with pytest.raises(ItemsFailedError, match="img_as_ubyte"):
            FloatThumbs().run()
