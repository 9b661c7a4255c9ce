"""The plan: what would be done with each item, and why."""

from datetime import UTC, datetime, timedelta

import pytest
from conftest import an_entry
from hypothesis import given
from hypothesis import strategies as st

from luisy_dir.item import Item, Source, scan
from luisy_dir.manifest import Failure, OutputFile
from luisy_dir.plan import RACY_NS, Plan, PlanRow, Reason, plan_first_build, plan_update
from luisy_dir.storage import local

STARTED = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
STARTED_NS = int(STARTED.timestamp()) * 10**9
OLD_NS = STARTED_NS - 60 * 10**9
THEN = Source("raw", "a.png", 10, OLD_NS, "digest")
OUTPUT = OutputFile("a.npy", 20, OLD_NS, "output digest")
ENTRY = an_entry("a", sources=(THEN,), outputs=(OUTPUT,), started=STARTED)


def now(**facts):
    """The source as a scan finds it: as it was, but for the given facts."""
    return Source(**({"root": "raw", "path": "a.png", "size": 10, "mtime_ns": OLD_NS} | facts))


def an_item(*sources, key="a"):
    return Item(key, sources or (now(),), {"raw": "/raw", "A": "/a", "B": "/b"})


class Digests:
    """Digests by absolute path, and a memory of what was asked."""

    def __init__(self, **digests):
        self.digests = {"/raw/a.png": "digest", "/out/a.npy": "output digest"} | digests
        self.asked = []

    def __call__(self, path):
        self.asked.append(path)
        return self.digests[path]


def update(items, entries, *, outputs=None, stale=None, digests=None):
    return plan_update(
        items,
        entries,
        outputs=outputs,
        stale=stale,
        digest_of=digests or Digests(),
        output_path=lambda path: f"/out/{path}",
    )


def reason(item=None, entry=ENTRY, **facts):
    [row] = update([item or an_item()], [entry], **facts).rows
    return row.reason


# -- each reason ------------------------------------------------------------------------------------------------------


def test_before_the_first_build_every_item_is_new():
    items = [an_item(key=key) for key in "abc"]

    assert [(row.key, row.reason, row.item) for row in plan_first_build(items).rows] == [
        (item.key, Reason.NEW, item) for item in items
    ]


def test_an_item_without_an_entry_is_new():
    [row] = update([an_item()], []).rows

    assert row.reason == Reason.NEW


def test_an_entry_without_an_item_is_deleted():
    [row] = update([], [ENTRY]).rows

    assert row == ("a", Reason.DELETED, None)


def test_an_item_of_the_same_size_and_time_is_unchanged_and_not_read():
    """100,000 files are looked at in about a second only because none of them is opened."""
    digests = Digests()

    assert reason(digests=digests) == Reason.UNCHANGED
    assert digests.asked == []


def test_an_item_of_another_time_and_the_same_bytes_is_touched():
    assert reason(an_item(now(mtime_ns=OLD_NS + 1))) == Reason.TOUCHED


@pytest.mark.parametrize("nanoseconds", [1, -1])
def test_an_item_of_another_time_and_other_bytes_is_changed(nanoseconds):
    """Older counts as much as younger: times are compared for equality, never for order."""
    digests = Digests(**{"/raw/a.png": "other"})

    assert reason(an_item(now(mtime_ns=OLD_NS + nanoseconds)), digests=digests) == Reason.CHANGED


@pytest.mark.parametrize("size", [9, 11, 0, -1])
def test_an_item_of_another_size_is_changed_and_not_read(size):
    """There is no doubt that a digest could settle; and a link that leads nowhere by now (-1) cannot be read."""
    digests = Digests()

    assert reason(an_item(now(size=size)), digests=digests) == Reason.CHANGED
    assert digests.asked == []


def test_a_file_that_can_no_longer_be_read_is_changed_and_the_plan_goes_on(tmp_path):
    """It will fail in the run, with a row of its own; the plan must not fail for all the others."""
    (tmp_path / "a.png").symlink_to("gone")
    (tmp_path / "b.png").touch()
    entries = [an_entry(key, sources=(Source("", f"{key}.png", 5, OLD_NS, "digest"),)) for key in "ab"]

    plan = update(scan(str(tmp_path)), entries, digests=lambda path: local.digest_of(path)[0])

    assert [row.reason for row in plan.rows] == [Reason.CHANGED, Reason.CHANGED]


@pytest.mark.parametrize("facts", [{"path": "a.jpg"}, {"root": "other"}])
def test_an_item_that_is_read_from_another_file_is_changed(facts):
    assert reason(an_item(now(**facts))) == Reason.CHANGED


def test_a_file_whose_name_is_spelled_alike_is_another_file():
    """The name b'\\xff' is spelled ``%FF`` in a manifest, and so is the name b'%FF'."""
    entry = an_entry("%FF", sources=(Source("raw", "%FF.png", 10, OLD_NS, "digest", encoded=True),), started=STARTED)

    assert reason(an_item(now(path="%FF.png"), key="%FF"), entry) == Reason.CHANGED


A, B = Source("A", "a.png", 1, OLD_NS, "of A"), Source("B", "a.npy", 2, OLD_NS, "of B")


@pytest.mark.parametrize(
    ("then", "today"), [((A, B), (A,)), ((A,), (A, B)), ((A, B), (B, A))], ids=["one less", "one more", "swapped"]
)
def test_a_joined_item_with_other_sources_is_changed(then, today):
    assert reason(an_item(*today), an_entry("a", sources=then, started=STARTED)) == Reason.CHANGED


@pytest.mark.parametrize("place", [0, 1])
def test_a_joined_item_is_changed_when_any_of_its_sources_is(place):
    sources = [A, B]
    sources[place] = Source(sources[place].root, sources[place].path, 3, OLD_NS + 1, "other")

    assert reason(an_item(*sources), an_entry("a", sources=(A, B), started=STARTED)) == Reason.CHANGED


def test_a_joined_item_that_is_touched_and_changed_is_changed():
    touched = Source("A", "a.png", 1, OLD_NS + 1, "of A")
    different = Source("B", "a.npy", 2, OLD_NS + 1, "other")

    assert reason(an_item(touched, different), an_entry("a", sources=(A, B), started=STARTED)) == Reason.CHANGED


def test_a_source_that_brings_its_digest_is_not_read():
    """Required directories have the digests in their manifests."""
    digests = Digests()

    assert reason(an_item(now(mtime_ns=OLD_NS + 1, digest="digest")), digests=digests) == Reason.TOUCHED
    assert digests.asked == []


def test_a_source_that_brings_another_digest_is_changed_whatever_its_time():
    """An item is stale when the digest of what it was made from has changed, not when a clock says so."""
    assert reason(an_item(now(digest="other"))) == Reason.CHANGED


# -- racy files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("age_ns", [0, 1, RACY_NS - 1, -(10**12)])
@pytest.mark.parametrize(("digest", "expected"), [("digest", Reason.UNCHANGED), ("other", Reason.CHANGED)])
def test_a_file_that_was_young_when_it_was_read_is_looked_at_by_digest(age_ns, digest, expected):
    """It may have changed again within one tick of the clock, to the same size. So may one from the future."""
    mtime_ns = STARTED_NS - age_ns
    entry = an_entry("a", sources=(Source("raw", "a.png", 10, mtime_ns, "digest"),), started=STARTED)

    assert reason(an_item(now(mtime_ns=mtime_ns)), entry, digests=Digests(**{"/raw/a.png": digest})) == expected


def test_a_file_that_was_old_enough_is_never_looked_at_again():
    mtime_ns = STARTED_NS - RACY_NS - 1_000
    entry = an_entry("a", sources=(Source("raw", "a.png", 10, mtime_ns, "digest"),), started=STARTED)
    digests = Digests()

    reason(an_item(now(mtime_ns=mtime_ns)), entry, digests=digests)

    assert digests.asked == []


@pytest.mark.parametrize("age_ns", [0, 10**12])
def test_a_file_that_was_skipped_has_no_digest_and_is_judged_by_size_and_time(age_ns):
    mtime_ns = STARTED_NS - age_ns
    entry = an_entry("a", status="skipped", sources=(Source("raw", "a.png", 10, mtime_ns),), started=STARTED)
    digests = Digests()

    assert reason(an_item(now(mtime_ns=mtime_ns)), entry, digests=digests) == Reason.UNCHANGED
    assert reason(an_item(now(mtime_ns=mtime_ns + 1)), entry, digests=digests) == Reason.CHANGED
    assert digests.asked == []


# -- items that were not written --------------------------------------------------------------------------------------


def test_an_item_that_failed_is_tried_again():
    entry = an_entry("a", sources=(THEN,), status="failed", error=Failure("E", "m"), started=STARTED)

    assert reason(an_item(), entry) == Reason.FAILED_BEFORE


def test_an_item_that_failed_on_another_file_is_changed():
    entry = an_entry("a", sources=(THEN,), status="failed", error=Failure("E", "m"), started=STARTED)

    assert reason(an_item(now(size=11)), entry, digests=Digests(**{"/raw/a.png": "other"})) == Reason.CHANGED


def test_an_item_that_could_never_be_read_is_tried_again():
    entry = an_entry("a", sources=(Source("raw", "a.png", -1, 0),), status="failed", started=STARTED)

    assert reason(an_item(now(size=-1, mtime_ns=0)), entry) == Reason.FAILED_BEFORE


@pytest.mark.parametrize("status", ["rejected", "skipped"])
def test_an_item_that_was_not_wanted_is_not_tried_again(status):
    entry = an_entry("a", sources=(THEN,), status=status, started=STARTED)

    assert reason(an_item(), entry, outputs={}) == Reason.UNCHANGED


# -- outputs ----------------------------------------------------------------------------------------------------------


def test_an_output_that_is_as_it_was_is_not_read():
    digests = Digests()

    assert reason(outputs={"a.npy": (20, OLD_NS)}, digests=digests) == Reason.UNCHANGED
    assert digests.asked == []


def test_an_output_that_is_gone_is_missing():
    assert reason(outputs={"b.npy": (20, OLD_NS)}) == Reason.OUTPUT_MISSING


def test_an_output_of_another_size_is_changed_and_not_read():
    digests = Digests()

    assert reason(outputs={"a.npy": (21, OLD_NS)}, digests=digests) == Reason.OUTPUT_CHANGED
    assert digests.asked == []


@pytest.mark.parametrize(
    ("digest", "expected"), [("other", Reason.OUTPUT_CHANGED), ("output digest", Reason.UNCHANGED)]
)
def test_an_output_of_another_time_is_judged_by_its_digest(digest, expected):
    digests = Digests(**{"/out/a.npy": digest})

    assert reason(outputs={"a.npy": (20, OLD_NS + 1)}, digests=digests) == expected
    assert digests.asked == ["/out/a.npy"]


@pytest.mark.parametrize("missing", ["a/1.npy", "a/2.npy"])
def test_every_output_of_an_item_counts(missing):
    outputs = tuple(OutputFile(f"a/{number}.npy", 1, 1, "00") for number in "12")
    entry = an_entry("a", sources=(THEN,), outputs=outputs, started=STARTED)
    on_disk = {output.path: (1, 1) for output in outputs if output.path != missing}

    assert reason(an_item(), entry, outputs=on_disk) == Reason.OUTPUT_MISSING


def test_outputs_that_are_trusted_are_not_looked_at():
    assert reason(outputs=None) == Reason.UNCHANGED


# -- several reasons at once ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stale", [Reason.CODE, Reason.PARAMS])
@pytest.mark.parametrize("status", ["written", "failed", "rejected", "skipped"])
def test_other_code_or_parameters_make_every_item_stale(stale, status):
    """Also those that were not wanted: the new code may want them."""
    digests = Digests()
    entry = an_entry("a", sources=(THEN,), status=status, started=STARTED)

    assert reason(an_item(), entry, outputs={}, stale=stale, digests=digests) == stale
    assert digests.asked == []


def test_other_code_makes_no_item_stale_that_is_new_or_deleted():
    plan = update([an_item(key="b")], [ENTRY], stale=Reason.CODE)

    assert [(row.key, row.reason) for row in plan.rows] == [("a", Reason.DELETED), ("b", Reason.NEW)]


def test_a_changed_source_is_named_before_a_missing_output():
    assert reason(an_item(now(path="b.png")), outputs={}) == Reason.CHANGED


def test_a_missing_output_is_named_before_a_touched_source():
    """Touched would leave it alone."""
    assert reason(an_item(now(mtime_ns=OLD_NS + 1)), outputs={}) == Reason.OUTPUT_MISSING


# -- the plan as a whole ----------------------------------------------------------------------------------------------

KEYS = st.text("ab/é\n", min_size=1, max_size=3)


@given(st.sets(KEYS), st.sets(KEYS))
def test_every_key_of_now_and_then_has_one_row_in_key_order(today, then):
    items = [an_item(now(path=key), key=key) for key in sorted(today)]
    entries = [an_entry(key, sources=(now(path=key),), started=STARTED) for key in sorted(then)]

    rows = update(items, entries).rows

    assert [row.key for row in rows] == sorted(today | then)
    assert {row.key for row in rows if row.reason == Reason.NEW} == today - then
    assert {row.key for row in rows if row.reason == Reason.DELETED} == then - today
    assert {row.key for row in rows if row.reason == Reason.UNCHANGED} == today & then


def plan_of(*reasons):
    items = [an_item(key=f"{number:03d}") for number in range(len(reasons))]
    return Plan(
        [
            PlanRow(item.key, why, None if why == Reason.DELETED else item)
            for item, why in zip(items, reasons, strict=True)
        ]
    )


# For each reason: whether the directory is complete all the same, and whether there is work to do.
JUDGED = {
    Reason.NEW: (False, True),
    Reason.CHANGED: (False, True),
    Reason.TOUCHED: (True, False),
    Reason.DELETED: (False, False),
    Reason.CODE: (False, True),
    Reason.PARAMS: (False, True),
    Reason.FAILED_BEFORE: (True, True),
    Reason.OUTPUT_MISSING: (False, True),
    Reason.OUTPUT_CHANGED: (False, True),
    Reason.UNCHANGED: (True, False),
}


@pytest.mark.parametrize("why", Reason)
def test_each_reason_says_whether_the_directory_is_complete_and_whether_there_is_work(why):
    """A failure within the budget leaves a directory complete, and is tried again by the next run that happens."""
    plan = plan_of(why)

    assert (plan.is_complete, bool(list(plan.todo))) == JUDGED[why]


def test_one_stale_item_makes_the_directory_incomplete():
    assert not plan_of(Reason.UNCHANGED, Reason.OUTPUT_MISSING, Reason.UNCHANGED).is_complete


def test_what_is_to_do_comes_in_key_order():
    plan = plan_of(Reason.NEW, Reason.UNCHANGED, Reason.CODE, Reason.DELETED, Reason.CHANGED)

    assert [item.key for item in plan.todo] == ["000", "002", "004"]


def test_a_plan_counts_its_reasons_the_most_frequent_first():
    plan = plan_of(Reason.NEW, Reason.UNCHANGED, Reason.UNCHANGED)

    assert list(plan.counts.items()) == [("unchanged", 2), ("new", 1)]


def test_a_plan_names_the_first_items_of_a_reason():
    plan = plan_of(*[Reason.NEW] * 5, Reason.CODE)

    assert plan.examples("new") == ["000", "001", "002"]


def test_a_plan_can_be_read_by_a_person():
    plan = plan_of(*[Reason.UNCHANGED] * 5, *[Reason.NEW] * 4, Reason.DELETED)

    assert str(plan) == (
        "10 items: 5 unchanged, 4 new, 1 deleted\n"
        "  new: '005', '006', '007' …\n"
        "  deleted: '009'"
    )  # fmt: skip


def test_a_plan_without_items_says_that_there_is_nothing_to_do():
    assert str(Plan([])) == "0 items: nothing to do"
    assert Plan([]).is_complete


def test_a_key_cannot_write_to_the_terminal_on_which_a_plan_is_shown():
    plan = Plan([PlanRow("\x1b[2J\u202e\n\r", Reason.NEW, None)])

    assert all(character.isprintable() for character in str(plan).replace("\n", "", 1))


def test_reckoning_with_times_is_exact_enough():
    """A moment more than the racy span is no longer racy, to the microsecond."""
    started = STARTED + timedelta(microseconds=1)
    mtime_ns = STARTED_NS - RACY_NS
    entry = an_entry("a", sources=(Source("raw", "a.png", 10, mtime_ns, "digest"),), started=started)
    digests = Digests()

    reason(an_item(now(mtime_ns=mtime_ns)), entry, digests=digests)

    assert digests.asked == []
