"""A job: items on their way to a worker, and back where they are to be tried again."""

from datetime import UTC, datetime
from urllib.parse import quote_from_bytes

from hypothesis import given
from hypothesis import strategies as st

from luisy_dir.item import Item, Source
from luisy_dir.job import Job, Part, Tries, decode_job, encode_job, job_of

NAMES = st.binary(min_size=1, max_size=40)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@given(KEYS, NAMES)
def test_an_item_is_the_same_after_its_way_to_a_worker(key, name):
    undecodable = Source("raw", quote_from_bytes(name), 1, 2, encoded=True)
    item = Item(key, (undecodable, Source("B", "b", -1, 0, "00")), {"raw": "/a"}, seed=3)

    (again,) = decode_job(job_of(item)).opened(item.folders, item.seed)

    assert (again.key, again.sources, again.folders, again.seed) == (item.key, item.sources, item.folders, item.seed)


def test_a_job_that_was_tried_knows_so_after_its_way_back():
    tries = Tries().and_one(datetime(2024, 5, 1, tzinfo=UTC), 0.25).and_one(datetime(2024, 5, 2, tzinfo=UTC), 0.5)
    tried = Job((Part("a", (Source("raw", "a.png", 1, 2),)),), tries)

    assert decode_job(encode_job(tried)) == tried
    assert tries == Tries(2, 0.75, datetime(2024, 5, 1, tzinfo=UTC))


def test_an_item_is_new_each_time_that_a_job_is_opened():
    """What a try has noted, and the random numbers that it has used, are not there in the next."""
    job = decode_job(job_of(Item("a", (Source("raw", "a.png", 1, 2),), {}, seed=3)))
    (first,) = job.opened({}, 3)
    first.meta["noted"] = first.rng.random()

    (second,) = job.opened({}, 3)

    assert second.meta == {}
    assert second.rng.random() == first.meta["noted"]
