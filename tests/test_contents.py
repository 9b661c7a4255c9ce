"""Contents: what lies in the way of a folder that is to be published is never removed, but for an empty folder."""

from __future__ import annotations

import os

import pytest

from luisy_dir.contents import remove_empty_folder


@pytest.mark.parametrize("spelling", ["{}", "{}/", "{}/./"])
def test_an_empty_folder_is_removed(tmp_path, spelling):
    place = tmp_path / "place"
    place.mkdir()

    assert remove_empty_folder(spelling.format(place))
    assert not place.exists()
    assert remove_empty_folder(place), "it is gone already"


@pytest.mark.parametrize("kind", ["a folder with a hidden file", "a file", "a link to an empty folder", "a dead link"])
def test_whatever_else_is_there_stays(tmp_path, kind):
    place, empty = tmp_path / "place", tmp_path / "empty"
    empty.mkdir()
    match kind:
        case "a folder with a hidden file":
            place.mkdir()
            (place / ".notes").touch()
        case "a file":
            place.touch()
        case "a link to an empty folder":
            place.symlink_to(empty)
        case "a dead link":
            place.symlink_to("nowhere")

    assert not remove_empty_folder(place)
    assert os.path.lexists(place)
    assert empty.exists()
