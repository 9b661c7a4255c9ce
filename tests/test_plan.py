"""The plan: what would be done with each item, and why."""

import dataclasses
from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from conftest import an_entry
from hypothesis import given
from hypothesis import strategies as st

from luisy_dir.entry import Failure, OutputFile
from luisy_dir.item import Item, Source, scan
from luisy_dir.plan import RACY_NS, Keys, Plan, PlanRow, Reason, deletions, plan_first_build, plan_update
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


def update(items, entries, *, outputs=None, stale=None, digests=None, distrust=()):
    return plan_update(
        items,
        entries,
        outputs=outputs,
        stale=stale,
        digest_of=digests or Digests(),
        digest_of_output=lambda output: (digests or Digests())(f"/out/{output.path}"),
        distrust=distrust,
    )


def reason(item=None, entry=ENTRY, **facts):
    [row] = update([item or an_item()], [entry], **facts)
    return row.reason


# -- each reason ------------------------------------------------------------------------------------------------------


def test_before_the_first_build_every_item_is_new():
    items = [an_item(key=key) for key in "abc"]

    assert [(row.key, row.reason, row.item) for row in plan_first_build(items).rows] == [
        (item.key, Reason.NEW, item) for item in items
    ]


def test_an_item_without_an_entry_is_new():
    item = an_item()

    [row] = update([item], [])

    assert row == ("a", Reason.NEW, item, None)


def test_an_entry_without_an_item_is_deleted():
    [row] = update([], [ENTRY])

    assert row == ("a", Reason.DELETED, None, ENTRY)


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

    rows = update(scan(str(tmp_path)), entries, digests=lambda path: local.digest_of(path)[0])

    assert [row.reason for row in rows] == [Reason.CHANGED, Reason.CHANGED]


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


def test_an_item_whose_output_is_known_to_be_damaged_is_made_anew():
    """A verification has marked its entry; where outputs are trusted as well."""
    entry = msgspec.structs.replace(ENTRY, status="output missing")

    assert reason(entry=entry, outputs=None) == Reason.OUTPUT_MISSING
    assert reason(entry=entry, outputs={"a.npy": (20, OLD_NS)}) == Reason.OUTPUT_MISSING


# -- a closer look ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("digest", "expected"), [("digest", Reason.UNCHANGED), ("other", Reason.CHANGED)])
def test_a_source_that_is_distrusted_is_judged_by_its_digest_whatever_its_size_and_time(digest, expected):
    """Some network disks lie about times, and a tool may set them back."""
    digests = Digests(**{"/raw/a.png": digest})

    assert reason(digests=digests, distrust={"sources"}) == expected
    assert digests.asked == ["/raw/a.png"]


@pytest.mark.parametrize(
    ("digest", "expected"), [("output digest", Reason.UNCHANGED), ("other", Reason.OUTPUT_CHANGED)]
)
def test_an_output_that_is_distrusted_is_judged_by_its_digest_whatever_its_size_and_time(digest, expected):
    digests = Digests(**{"/out/a.npy": digest})

    assert reason(outputs={"a.npy": (20, OLD_NS)}, digests=digests, distrust={"outputs"}) == expected
    assert digests.asked == ["/out/a.npy"]


def test_a_source_that_was_never_read_is_not_read_however_closely_one_looks():
    """A file that was skipped has no digest to compare with."""
    entry = an_entry("a", status="skipped", sources=(now(),), started=STARTED)
    digests = Digests()

    assert reason(entry=entry, digests=digests, distrust={"sources"}) == Reason.UNCHANGED
    assert digests.asked == []


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
    rows = update([an_item(key="b")], [ENTRY], stale=Reason.CODE)

    assert [(row.key, row.reason) for row in rows] == [("a", Reason.DELETED), ("b", Reason.NEW)]


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

    rows = update(items, entries)

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


# -- the two parts of a plan ------------------------------------------------------------------------------------------


def a_row(key, why, **facts):
    """A row as :func:`plan_update` makes it, but for the given facts."""
    item = None if why == Reason.DELETED else an_item(now(path=f"{key}.png"), key=key)
    outputs = (OutputFile(f"{key}.npy", 1, 1, "00"),)
    entry = None if why == Reason.NEW else an_entry(key, sources=(now(path=f"{key}.png"),), outputs=outputs, **facts)
    return PlanRow(key, why, item, entry)


@given(st.dictionaries(KEYS, st.sampled_from(Reason)))
def test_rows_are_one_for_every_key_in_key_order_be_it_changed_or_not(reasons):
    changes = [PlanRow(key, why) for key, why in sorted(reasons.items()) if why != Reason.UNCHANGED]
    unchanged = [key for key, why in reasons.items() if why == Reason.UNCHANGED]

    plan = Plan(changes, Keys(len(unchanged), lambda: unchanged))

    assert [(row.key, row.reason) for row in plan.rows] == sorted(reasons.items())
    assert plan.counts == Counter(why.value for why in reasons.values())
    assert list(plan.counts.values()) == sorted(plan.counts.values(), reverse=True)


def test_keys_that_are_unchanged_are_looked_up_only_where_somebody_wants_to_see_them():
    """Of 100,000 of them, a run with little to do needs the number alone."""

    def load():
        raise AssertionError("they were looked up")

    plan = Plan([a_row("a", Reason.CHANGED)], Keys(100_000, load))

    assert plan.counts == {"unchanged": 100_000, "changed": 1}
    assert plan.item_count == 100_001
    assert str(plan).startswith("100001 items: 100000 unchanged, 1 changed")


def test_keys_are_a_collection_in_order():
    keys = Keys(3, lambda: ["c", "a", "b"])

    assert (len(keys), list(keys)) == (3, ["a", "b", "c"])
    assert "b" in keys
    assert "d" not in keys


def test_without_anything_else_there_are_no_keys():
    assert (len(Keys()), list(Keys())) == (0, [])


def test_the_first_unchanged_keys_are_named_too():
    assert Plan([], Keys(4, lambda: "dcba")).examples("unchanged") == ["a", "b", "c"]


def test_what_no_longer_counts_are_the_former_entries_of_all_that_is_not_unchanged():
    """Also of what was only touched: it gets an entry that says so."""
    rows = [a_row(f"{number}", why) for number, why in enumerate(Reason)]

    superseded = Plan(rows).superseded()

    with_entry = [row for row in rows if row.reason not in {Reason.NEW, Reason.UNCHANGED}]
    assert superseded == [row.entry for row in with_entry]


def test_what_was_touched_keeps_its_outputs_and_is_told_by_its_new_time():
    """Its digest is as it was, or it would be changed; else the next plan would read it again."""
    then, today = now(digest="digest"), now(mtime_ns=OLD_NS + 7)
    entry = an_entry("a", sources=(then,), outputs=(OUTPUT,), started=STARTED)
    plan = Plan([PlanRow("a", Reason.TOUCHED, an_item(today), entry), a_row("b", Reason.CHANGED)])

    [kept] = plan.touched()

    assert kept.sources == (now(mtime_ns=OLD_NS + 7, digest="digest"),)
    assert msgspec.structs.replace(kept, sources=entry.sources) == entry


def test_outputs_are_expected_where_they_were_before_and_those_of_new_items_by_their_key():
    """So that what lies in the way is found before an hour of work."""
    rows = [a_row("a", Reason.NEW), a_row("b", Reason.CHANGED), a_row("c/d", Reason.NEW)]
    at_rest = [a_row("e", Reason.DELETED), a_row("f", Reason.TOUCHED)]
    several = an_entry("g", outputs=(OutputFile("g/1.json", 1, 1, "00"), OutputFile("g/2.npy", 1, 1, "00")))

    plan = Plan([*rows, *at_rest, PlanRow("g", Reason.CODE, an_item(key="g"), several)])

    assert plan.expected_paths(".npy") == ["a.npy", "b.npy", "c/d.npy", "g/1.json", "g/2.npy"]


def test_items_that_are_gone_are_no_items_of_now():
    plan = Plan([a_row("a", Reason.NEW), a_row("b", Reason.DELETED)], Keys(2, lambda: "cd"))

    assert plan.item_count == 3


# -- what a run would find to do --------------------------------------------------------------------------------------


@pytest.mark.parametrize("why", Reason)
def test_a_run_has_nothing_to_do_only_where_nothing_is_processed_and_nothing_removed(why):
    """A no-op makes no new generation; a failure of before is tried again by a run that happens."""
    assert plan_of(why).is_at_rest == (why in {Reason.UNCHANGED, Reason.TOUCHED})


@pytest.mark.parametrize("why", Reason)
def test_a_generation_that_is_not_all_in_its_place_is_neither_complete_nor_at_rest(why):
    plan = dataclasses.replace(plan_of(why), is_pending=True)

    assert not plan.is_complete
    assert not plan.is_at_rest
    assert "finishes that first" in str(plan)


@pytest.mark.parametrize("why", Reason)
def test_a_pinned_generation_is_complete_whatever_becomes_of_its_inputs(why):
    plan = dataclasses.replace(plan_of(why), is_pinned=True)

    assert plan.is_complete
    assert "pinned" in str(plan)
    assert not dataclasses.replace(plan, is_pending=True).is_complete


def test_a_plan_says_how_long_it_may_take():
    """An item that was processed before as long as it took then, a new one as long as one takes on average."""
    rows = [a_row("a", Reason.CHANGED, seconds=60.0), a_row("b", Reason.NEW), a_row("c", Reason.DELETED, seconds=1e9)]

    plan = Plan([*rows, a_row("d", Reason.TOUCHED, seconds=1e9)], mean_seconds=20.0, workers=4)

    assert plan.estimated_seconds == 20.0
    assert "; about 0:00:20 with 4 workers\n" in str(plan)
    assert "; about 0:01:20\n" in str(dataclasses.replace(plan, workers=1))


def test_where_nothing_was_recorded_no_time_is_told():
    plan = Plan([a_row("a", Reason.NEW)])

    assert plan.estimated_seconds is None
    assert "about" not in str(plan)


def test_a_moment_is_not_worth_telling():
    assert "about" not in str(Plan([a_row("a", Reason.NEW)], mean_seconds=0.4))


def test_what_is_gone_is_counted_where_it_was_written_and_read_from_the_folders_in_question():
    """A disk that is not mounted takes results away; what was skipped or failed has none."""
    rows = [
        a_row("a", Reason.DELETED),
        a_row("b", Reason.DELETED, status="skipped"),
        a_row("c", Reason.DELETED, status="failed"),
        a_row("d", Reason.CHANGED),
    ]

    assert deletions(Plan(rows), {"raw"}) == 1
    assert deletions(Plan(rows), {"other"}) == 0


OF_B_TOO = an_entry("a", sources=(A, B))


@pytest.mark.parametrize(
    ("row", "of_a", "of_b"),
    [
        pytest.param(PlanRow("a", Reason.CHANGED, an_item(A), OF_B_TOO), 0, 1, id="its file in B is gone"),
        pytest.param(PlanRow("a", Reason.CHANGED, an_item(B), OF_B_TOO), 1, 0, id="its file in A is gone"),
        pytest.param(PlanRow("a", Reason.DELETED, None, OF_B_TOO), 1, 1, id="both are gone"),
        pytest.param(PlanRow("a", Reason.CHANGED, an_item(A, B), OF_B_TOO), 0, 0, id="both are there"),
        pytest.param(PlanRow("a", Reason.NEW, an_item(A, B)), 0, 0, id="both are new"),
        pytest.param(PlanRow("a", Reason.CHANGED, an_item(A, B), an_entry("a", sources=(A,))), 0, 0, id="one more"),
    ],
)
def test_a_joined_item_has_lost_what_is_gone_from_one_folder_alone(row, of_a, of_b):
    """Only one of two disks may not be mounted; with an outer join the item goes on without it."""
    assert (deletions(Plan([row]), {"A"}), deletions(Plan([row]), {"B"})) == (of_a, of_b)
    assert deletions(Plan([row]), {"A", "B"}) == max(of_a, of_b)
