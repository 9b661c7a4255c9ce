"""Decorators: in any sensible order, with and without parentheses, touching only the class that they decorate."""

from __future__ import annotations

import itertools
import pickle

import luigi
import luigi.util
import pytest
from pipelines import Letters, Upper, length, read_text

import luisy_dir as luisy
from luisy_dir.errors import DefinitionError


@pytest.mark.parametrize("layer", ["raw", "interim", "final"])
def test_layers_work_with_and_without_parentheses(layer):
    decorate = getattr(luisy, layer)

    @decorate
    class Bare(luisy.ExternalTask):
        pass

    @decorate()
    class Called(luisy.ExternalTask):
        pass

    assert Bare.layer == Called.layer == layer


def test_decorators_may_stand_in_any_order():
    decorators = [luisy.interim, luisy.requires(Letters), luisy.directory_output(".txt", workers=3)]
    paths = set()
    for order in itertools.permutations(decorators):

        class Any(luisy.DirectoryTask):
            def process(self, text):
                return text

        decorated = Any
        for decorate in order:
            decorated = decorate(decorated)
        assert decorated is Any
        assert (Any.layer, Any.format.suffix, Any.workers) == ("interim", ".txt", 3)
        assert Any().requires() is Letters()
        paths.add(Any().output().path)
    assert len(paths) == 1


def test_reader_and_layer_may_stand_in_any_order():
    for order in itertools.permutations([luisy.raw, luisy.make_directory_output(read_text, r"\.txt$")]):

        class Some(luisy.ExternalTask):
            def get_folder_name(self):
                return "x"

        for decorate in order:
            assert decorate(Some) is Some
        assert Some.layer == "raw"
        assert Some().output().read_file is read_text
        assert Some().output().regex_pattern == r"\.txt$"


def test_two_readers_do_not_see_each_other(write_files):
    """In one process, on two classes of one base, by two uses of the decorator."""

    class Base(luisy.ExternalTask):
        def get_folder_name(self):
            return "shared"

    @luisy.make_directory_output(lambda path: "one")
    @luisy.raw
    class One(Base):
        pass

    @luisy.make_directory_output(lambda path: "two", r"b")
    @luisy.raw
    class Two(Base):
        pass

    write_files(One().output().path, {"a.txt": b"", "b.txt": b""})
    assert list(One().read()) == ["one", "one"]
    assert list(Two().read()) == ["two"]
    assert Base.read_file is None
    assert Base.layer is None


def test_a_decorator_leaves_the_parent_of_the_class_alone():
    class Parent(luisy.DirectoryTask):
        def process(self, data):
            return data

    @luisy.final
    @luisy.directory_output(".npy", engine="threads")
    class Child(Parent):
        pass

    assert Parent.format is None
    assert Parent.layer is None
    assert not hasattr(Parent, "engine")
    assert Child.engine == "threads"


def test_a_subclass_inherits_what_was_decorated():
    class Louder(Upper):
        def process(self, text):
            return text.upper() + "!"

    assert Louder().output().path.endswith("/interim/Louder")
    assert Louder().requires() is Letters()


def test_the_tuple_that_a_reader_returns_is_the_one_argument_of_process(write_files):
    @luisy.make_directory_output(lambda path: (path, 1))
    @luisy.raw
    class Pairs(luisy.ExternalTask):
        def get_folder_name(self):
            return "pairs"

    @luisy.interim
    @luisy.requires(Pairs)
    @luisy.directory_task(".json", engine="serial")
    def unpacked(pair):
        _, number = pair
        return number

    write_files(Pairs().output().path, {"a.txt": b""})
    unpacked().run()
    assert list(unpacked().read()) == [1]


def test_the_function_form_is_a_task_of_the_functions_name():
    assert length.__name__ == "length"
    assert length.__doc__ == "Number of characters."
    assert length.get_task_family() == "length"
    assert pickle.loads(pickle.dumps(length)) is length


def test_luigi_requires_and_inherits_work_too():
    @luigi.util.requires(Letters)
    @luisy.directory_task(".txt")
    def same(text):
        return text

    assert same().requires() is Letters()


class TestWhatCannotWork:
    """DefinitionError where the mistake is made."""

    def test_requires_on_a_function(self):
        with pytest.raises(DefinitionError, match="Put requires above directory_task"):

            @luisy.requires(Letters)
            def process(text):
                return text

    def test_luigis_requires_below_directory_task(self):
        with pytest.raises(DefinitionError, match="Put it above directory_task"):

            @luisy.directory_task(".txt")
            @luigi.util.requires(Letters)
            def process(text):
                return text

    @pytest.mark.parametrize("wrong", [(), (3,), ("Letters",)])
    def test_requires_without_task_classes(self, wrong):
        with pytest.raises(DefinitionError, match="needs task classes"):
            luisy.requires(*wrong)

    def test_requires_in_order_and_by_name_at_once(self):
        with pytest.raises(DefinitionError, match="either in order or by name"):
            luisy.requires(Letters, a=Letters)

    def test_make_directory_output_without_its_reader(self):
        with pytest.raises(DefinitionError, match="name of your reader in parentheses"):
            luisy.make_directory_output(r"\.png$")

    def test_make_directory_output_on_another_task(self):
        with pytest.raises(DefinitionError, match="which is no ExternalTask"):
            luisy.make_directory_output(read_text)(Upper)

    def test_directory_output_on_another_task(self):
        with pytest.raises(DefinitionError, match="which is no DirectoryTask"):
            luisy.directory_output(".npy")(Letters)

    def test_a_layer_on_a_function(self):
        with pytest.raises(DefinitionError, match="which is no Task, DirectoryTask or ExternalTask"):
            luisy.raw(read_text)

    def test_directory_task_on_a_class(self):
        with pytest.raises(DefinitionError, match="decorated with directory_output"):
            luisy.directory_task(".npy")(Upper)

    def test_directory_task_on_a_lambda(self):
        with pytest.raises(DefinitionError, match="function with a name"):
            luisy.directory_task(".npy")(lambda data: data)

    def test_a_parameter_that_the_function_does_not_take(self):
        with pytest.raises(DefinitionError, match="no argument for the parameters size"):

            @luisy.directory_task(".npy", params={"size": luigi.IntParameter()})
            def process(data):
                return data

    @pytest.mark.parametrize("suffix", ["npy", ".unheard", "", 3, None])
    def test_a_format_that_is_not_known(self, suffix):
        with pytest.raises(DefinitionError, match="is no known format"):
            luisy.directory_output(suffix)

    def test_a_pair_of_functions_without_a_suffix(self):
        with pytest.raises(DefinitionError, match=r"suffix='\.bin'"):
            luisy.directory_output((read_text, print))

    def test_a_setting_that_is_not_known(self):
        with pytest.raises(DefinitionError, match="no setting engin"):
            luisy.directory_output(".npy", engin="serial")
