"""The code that makes a result stale, and what does not."""

import functools
import importlib.util
import itertools
import json
import operator
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from code_changes import CHANGES

import luisy_dir.code
from luisy_dir.code import code_of, frozen, of_function
from luisy_dir.fingerprint import is_opaque


@pytest.fixture(autouse=True)
def is_forgotten():
    """What these tests look at, large graphs among it, is not looked at again around each run of other tests."""
    yield
    luisy_dir.code._known.clear()


@pytest.fixture
def load(tmp_path):
    """Import a module that is made of the given source; it always has the same name, as after an edit."""
    numbers = itertools.count()

    def from_source(source):
        path = tmp_path / f"{next(numbers)}.py"
        path.write_text(textwrap.dedent(source))
        spec = importlib.util.spec_from_file_location("pipeline", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return from_source


@pytest.fixture
def fingerprint(load):
    """Fingerprint of the function ``f`` in a module that is made of the given source."""
    return lambda source: of_function(load(source).f)


def fingerprint_without_source(source):
    """Fingerprint of the function ``f`` where nobody knows its source, as in a shell."""
    namespace = {}
    exec(textwrap.dedent(source), namespace)
    return of_function(namespace["f"])


# -- what does not count ----------------------------------------------------------------------------------------------

PLAIN = """
def f(image, size=3):
    total = image * size
    return total
"""


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(
            """
            # what it does
            def f(image, size=3):
                total = image * size  # scale
                # done
                return total
            """,
            id="comments",
        ),
        pytest.param(
            '''
            def f(image, size=3):
                """Scale an image.

                In two paragraphs.
                """
                total = image * size
                return total
            ''',
            id="docstring",
        ),
        pytest.param(
            """
            import os


            X = 1
            def f(
                image,
                size = 3,
            ):

                total = (image
                         * size)
                return (total)
            """,
            id="formatting and line numbers",
        ),
        pytest.param(
            """
            if True:
                def f(image, size=3):
                    total = image * size
                    return total
            """,
            id="indentation",
        ),
        pytest.param("def f(image, size=0x3): total = image * size; return total", id="spelling of a number"),
    ],
)
def test_what_does_not_change_the_result_does_not_count(fingerprint, source):
    assert fingerprint(source) == fingerprint(PLAIN)


def test_docstrings_of_inner_functions_and_classes_do_not_count(fingerprint):
    plain = """
        def f():
            class A:
                def g(self):
                    return 1
            return A
    """
    documented = '''
        def f():
            class A:
                """A class."""
                def g(self):
                    """A method."""
                    return 1
            return A
    '''

    assert fingerprint(documented) == fingerprint(plain)


def test_a_docstring_alone_is_as_good_as_pass(fingerprint):
    assert fingerprint('def f():\n    """Do nothing."""') == fingerprint("def f():\n    pass")


def test_a_docstring_does_not_count_where_the_source_cannot_be_cut_out(fingerprint):
    """Lines of a docstring may begin further to the left than the function does."""
    source = 'class A:\n    def f(self):\n        """Title\nVALUE"""\n        return 1\nf = A.f'

    assert not different(fingerprint, source, "a", "b")


def test_a_docstring_does_not_count_where_there_is_no_source():
    one, other = (f"def f(x):\n    '''{text}'''\n    return x" for text in ("One.", "Two."))

    assert fingerprint_without_source(one) == fingerprint_without_source(other)


def test_line_numbers_do_not_count_where_there_is_no_source():
    assert fingerprint_without_source("def f(x): return x") == fingerprint_without_source("\n\ndef f(x): return x")


def test_a_function_that_has_run_often_is_still_the_same():
    """The interpreter rewrites the byte code of a function that is called often."""
    source = "def f(x):\n    total = 0\n    for n in range(100): total += n * x\n    return total"
    namespace = {}
    exec("\n" + source, namespace)

    for _ in range(100):
        namespace["f"](2)

    assert of_function(namespace["f"]) == fingerprint_without_source(source)


def test_the_layout_of_a_lambda_does_not_count(fingerprint):
    assert fingerprint("f = (\n    lambda x:\n        x + 1  # next\n)") == fingerprint("f = lambda x: x + 1")


# -- what counts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("def f(image, size=3):\n    total = image + size\n    return total", id="an operator"),
        pytest.param("def f(image, size=3):\n    total = image * 2\n    return total", id="a constant"),
        pytest.param("def f(image, size=4):\n    total = image * size\n    return total", id="a default"),
        pytest.param("def f(image, *, size=3):\n    total = image * size\n    return total", id="the signature"),
        pytest.param("def f(image, size=3.0):\n    total = image * size\n    return total", id="the type of a default"),
        pytest.param("def f(image, size=True):\n    total = image * size\n    return total", id="True is not 1"),
    ],
)
def test_what_may_change_the_result_counts(fingerprint, source):
    assert fingerprint(source) != fingerprint(PLAIN)


def different(fingerprint, source, one, other):
    """Whether it makes a difference to say ``one`` or ``other`` where the source says VALUE."""
    return fingerprint(source.replace("VALUE", one)) != fingerprint(source.replace("VALUE", other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "2"),
        ("1", "True"),
        ("1", "type('Other', (int,), {})(1)"),
        ("1", "1.0"),
        ("0.0", "-0.0"),
        ("'a'", "b'a'"),
        ("None", "'None'"),
        ("[1, 2]", "[2, 1]"),
        ("[1, 2]", "(1, 2)"),
        ("{1, 2}", "{1, 3}"),
        ("{'a': 1}", "{'a': 2}"),
        ("{'a': 1}", "{1: 'a'}"),
        ("[[1], 2]", "[1, [2]]"),
        ("float('nan')", "float('inf')"),
        ("'\\ud800'", "'\\ud801'"),
    ],
)
def test_a_default_counts(fingerprint, one, other):
    assert different(fingerprint, "value = VALUE\ndef f(x, y=value): return x", one, other)


def test_a_keyword_default_counts(fingerprint):
    assert different(fingerprint, "value = VALUE\ndef f(x, *, y=value): return x", "1", "2")


def test_a_closed_value_counts(fingerprint):
    assert different(fingerprint, "def make(n):\n    def f(x): return x * n\n    return f\nf = make(VALUE)", "2", "3")


def test_the_names_of_closed_values_count(fingerprint):
    source = "def make(a, b):\n    def f(x): return a - b\n    return f\nf = make(VALUE)"

    assert different(fingerprint, source, "1, 2", "2, 1")


def test_a_closed_function_counts(fingerprint):
    source = "def make(g):\n    def f(x): return g(x)\n    return f\nf = make(lambda x: x + VALUE)"

    assert different(fingerprint, source, "1", "2")


@pytest.mark.parametrize(("one", "other"), [("2, x=1", "3, x=1"), ("2, x=1", "2, x=4"), ("2, x=1", "2, y=1")])
def test_the_arguments_of_a_partial_count(fingerprint, one, other):
    source = "import functools\ndef g(a, **b): return a\nf = functools.partial(g, VALUE)"

    assert different(fingerprint, source, one, other)


def test_the_function_of_a_partial_counts(fingerprint):
    assert different(fingerprint, "import functools\nf = functools.partial(lambda x: VALUE, 1)", "1", "2")


def test_the_body_of_a_lambda_counts(fingerprint):
    assert different(fingerprint, "f = lambda x: x + VALUE", "1", "2")


@pytest.mark.parametrize(
    "source",
    [
        "f, g = lambda x: VALUE, lambda x: 3",
        "g, f = lambda x: 3, lambda x: VALUE",
        "f = dict(a=lambda x: VALUE,\n         b=lambda x: 3)['a']",
        "g = lambda x: 3\nf = lambda*x: VALUE",
        "f = [\n    3,\n    lambda x: [\n        VALUE,\n    ],\n][1]",
        "f = (lambda x: lambda y: VALUE)(1)",
    ],
)
def test_each_of_several_lambdas_has_a_fingerprint_of_its_own(fingerprint, source):
    """What can be found in a file is lines; a lambda is less than a line, or more."""
    assert different(fingerprint, source, "1", "2")


@pytest.mark.parametrize(
    "source",
    [
        "def f(x): return x + VALUE",
        "f = lambda x: x + VALUE",
        "def f(x):\n    def g(y): return y + VALUE\n    return g(x)",
        "def f(x): return x in {VALUE, 5}",
        "def f(x): return x.real if VALUE == 1 else x.imag",
    ],
)
def test_code_counts_where_there_is_no_source(source):
    one, other = (fingerprint_without_source(source.replace("VALUE", value)) for value in "12")

    assert one != other


def test_names_count_where_there_is_no_source():
    one, other = (fingerprint_without_source(f"def f(x): return x.{name}") for name in ("real", "imag"))

    assert one != other


def test_a_wrapped_function_counts(fingerprint):
    source = """
        import functools
        def twice(g):
            @functools.wraps(g)
            def h(x): return g(g(x))
            return h
        @twice
        def f(x): return x + VALUE
    """

    assert different(fingerprint, source, "1", "2")


def test_what_a_decorator_was_given_counts(fingerprint):
    source = """
        def times(n):
            def decorate(g):
                def h(x): return g(x) * n
                return h
            return decorate
        @times(VALUE)
        def f(x): return x
    """

    assert different(fingerprint, source, "2", "3")


def test_what_the_decorator_of_an_inner_function_was_given_counts(fingerprint):
    source = """
        def times(n): return lambda g: lambda x: g(x) * n
        def f(x):
            @times(VALUE)
            def inner(y): return y
            return inner(x)
    """

    assert different(fingerprint, source, "2", "3")


def test_a_cached_function_counts(fingerprint):
    assert different(fingerprint, "import functools\n@functools.lru_cache\ndef f(x): return x + VALUE", "1", "2")


def test_the_object_that_a_method_is_bound_to_counts_or_is_said_to_be_opaque():
    """``Reader(channel=0).read`` and ``Reader(channel=1).read`` read different things."""

    class Reader:
        def __init__(self, channel):
            self.channel = channel

        def read(self, path):
            return self.channel

    one, other = of_function(Reader(0).read), of_function(Reader(1).read)

    assert one != other or is_opaque(one)


def test_what_a_builtin_method_is_bound_to_counts_or_is_said_to_be_opaque():
    """A dictionary that maps one value to another is a fine process function."""
    one, other = of_function({"a": 1}.get), of_function({"a": 2}.get)

    assert one != other or is_opaque(one)


def test_a_class_counts_or_is_said_to_be_opaque(fingerprint):
    """A callable class is code like any other."""
    one, other = (fingerprint(f"class f:\n    def __init__(self, x): self.x = x + {number}") for number in (1, 2))

    assert one != other or is_opaque(one)


def test_white_space_inside_a_text_counts(fingerprint):
    """A function that moves to another level of indentation must not take its texts along."""
    flat = "def f(x):\n    return '''a\n    b'''\n"
    nested = "if True:\n    def f(x):\n        return '''a\n        b'''\n"

    assert fingerprint(flat) != fingerprint(nested)


def test_the_code_that_runs_counts_and_not_the_file_that_was_edited_since(load):
    """Somebody edits a module while a run begins: the result is made by what was loaded, and stale for what comes."""
    old, new = "def edited(x): return x + 1", "def edited(x): return x + 1000"
    loaded = load(old)
    with open(loaded.__file__, "w") as file:
        file.write(new)

    assert of_function(loaded.edited) != of_function(load(new).edited)


# -- what else can be called ------------------------------------------------------------------------------------------


def test_a_builtin_is_named():
    assert of_function(sorted) == "builtin:builtins.sorted"


def test_a_function_that_calls_itself_has_a_fingerprint():
    def make():
        def f(n):
            return f(n - 1) if n else 0

        return f

    assert of_function(make()) == of_function(make())


def test_functions_that_call_each_other_have_fingerprints():
    def make(step):
        def even(n):
            return n == 0 or odd(n - step)

        def odd(n):
            return n != 0 and even(n - step)

        return even

    assert of_function(make(1)) == of_function(make(1))
    assert of_function(make(1)) != of_function(make(2))


def test_a_value_that_contains_itself_has_a_fingerprint():
    endless = []
    endless.append(endless)

    assert of_function(functools.partial(print, endless))


def test_a_method_is_the_function_that_it_was_defined_as():
    class Step:
        def process(self, image):
            return image

    assert of_function(Step.process) == of_function(vars(Step)["process"])


@pytest.mark.parametrize("value", [object(), open, print, 5, None, "text", ..., operator.attrgetter("a"), np.sqrt])
def test_whatever_it_is_given_it_answers(value):
    assert isinstance(of_function(functools.partial(print, value)), str)


class Opaque:
    __slots__ = ()

    def __call__(self, x):
        return x


def closed(hidden, default=None):
    def f(x, y=default):
        return hidden

    return f


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(Opaque(), id="a callable object"),
        pytest.param(functools.partial(Opaque()), id="in a partial"),
        pytest.param(functools.partial(print, [{"a": Opaque()}]), id="deep in an argument"),
        pytest.param(closed(None, Opaque()), id="in a default"),
        pytest.param(closed(Opaque()), id="in a closure"),
        pytest.param(operator.itemgetter(1), id="an object of a library"),
    ],
)
def test_what_cannot_be_looked_into_is_said_to_be_opaque(function):
    assert is_opaque(of_function(function))


@pytest.mark.parametrize("function", [len, lambda x: "opaque", functools.partial(print, "opaque", opaque="opaque")])
def test_what_can_be_looked_into_is_not_said_to_be_opaque(function):
    assert not is_opaque(of_function(function))


def test_an_opaque_object_does_not_hide_what_is_beside_it():
    assert of_function(functools.partial(print, Opaque(), 1)) != of_function(functools.partial(print, Opaque(), 2))


def test_an_opaque_object_is_named_and_never_hashed_at_random():
    """An address in memory would make every run begin again."""
    assert of_function(Opaque()) == of_function(Opaque()) == f"opaque:{__name__}.Opaque"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.arange(3), np.arange(3) + 1),
        (np.arange(3), np.arange(3.0)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.float32(1), np.float64(1)),
        (np.arange(4).reshape(2, 2), np.asfortranarray(np.arange(4).reshape(2, 2).T)),
    ],
)
def test_an_array_counts_by_dtype_shape_and_content(one, other):
    fingerprints = [of_function(functools.partial(print, array)) for array in (one, one.copy(), other)]

    assert fingerprints[0] == fingerprints[1] != fingerprints[2]
    assert not is_opaque(fingerprints[0])


def test_an_array_of_objects_is_opaque():
    assert is_opaque(of_function(functools.partial(print, np.array([None, "a"]))))


MANY = """
import functools, math
import numpy as np

def closed():
    names = {"a", "b", "c", "größe"}
    table = {name: {name, 1, None, 2.5} for name in sorted(names)}
    def f(x, y=frozenset("hello"), *, z=names):
        return x in {"p", "q", "r"}, table, names
    return f

class Opaque:
    __slots__ = ()

def fibonacci(n):
    return fibonacci(n - 1) + fibonacci(n - 2) if n > 1 else n

functions = [
    closed(), fibonacci, len, math.sqrt, lambda x: x in {"a", "b"}, Opaque(),
    functools.partial(closed(), {"x", "y", "z"}, k=np.arange(3)),
]
functions += [lambda x: x in {"u", "v"}, lambda x: {("a", 1), ("b", 2)}]
namespace = {}
exec("def unknown(x, y={'k', 'l', 'm'}): return x in {'a', 'b', 'c', ('d', 'e')}", namespace)
functions.append(namespace["unknown"])
"""


def test_fingerprints_are_the_same_in_every_process(tmp_path):
    """The order of a set is another one in every process."""
    (tmp_path / "many.py").write_text(MANY)
    code = (
        "import json, many; from luisy_dir.code import of_function;"
        "print(json.dumps([of_function(f) for f in many.functions]))"
    )

    answers = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", code],
                env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(tmp_path)},
                check=True,
                capture_output=True,
            ).stdout
        )
        for seed in ("1", "2", "3")
    ]

    assert answers[0] == answers[1] == answers[2]
    assert len(set(answers[0])) == len(answers[0])


# -- changes, and what each makes stale --------------------------------------------------------------------------------

ASK = """
import importlib, json, os, sys
from luisy_dir.code import code_of
answers = {}
for package in sorted(os.listdir(sys.argv[1])):
    pipeline = importlib.import_module(f"{package}.pipeline")
    for root in sorted(set("abcdeABCDE") & set(vars(pipeline))):
        thing = getattr(pipeline, root)
        code = code_of(thing.process, owner=thing) if isinstance(thing, type) else code_of(thing)
        answers.setdefault(package, {})[root] = [code.digest, list(code.opaque)]
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """Write packages and ask in a fresh process: digest and what is opaque, for each package and root."""

    def ask(packages, seed):
        folder = tmp_path_factory.mktemp("packages")
        for package, files in packages.items():
            for name, text in files.items():
                path = folder / package / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text.replace("PKG", package))
        return run_python("-c", ASK, str(folder), path=folder, seed=seed)

    return ask


def run_python(*arguments, path, seed="0"):
    """What a fresh process prints as JSON."""
    paths = os.pathsep.join(map(str, (path, *filter(None, sys.path))))
    done = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONHASHSEED": str(seed), "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        cwd=path,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


PACKAGES = {f"package_{number}": change for number, change in enumerate(CHANGES)}


@pytest.fixture(scope="module")
def before(ask):
    return ask({package: change.before() for package, change in PACKAGES.items()}, seed=1)


@pytest.fixture(scope="module")
def after(ask):
    return ask({package: change.after() for package, change in PACKAGES.items()}, seed=2)


@pytest.mark.parametrize("package", [pytest.param(package, id=change.name) for package, change in PACKAGES.items()])
def test_a_change_makes_stale_what_reaches_it_and_nothing_else(package, before, after):
    then, now = before[package], after[package]

    assert {root for root in then if now[root] != then[root]} == PACKAGES[package].stale


def test_every_digest_is_the_same_in_another_process(before, ask):
    """The order of a set is another one there."""
    assert ask({package: change.before() for package, change in PACKAGES.items()}, seed=3) == before


def test_nothing_in_an_ordinary_pipeline_is_opaque(before):
    assert {package: roots for package, roots in before.items() if any(opaque for _, opaque in roots.values())} == {}


# -- in one process ---------------------------------------------------------------------------------------------------


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """Write files and import the first of them; afterwards nothing of that is left in this process."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)

    def imported(**files):
        for name, source in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(source))
        return importlib.import_module(next(iter(files)).partition("__init__")[0].strip("_").replace("__", "."))

    yield imported
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def pipeline(imported):
    """A function with helpers, constants and a cache."""
    return imported(
        a_pipeline="""
        LIMIT = 3
        NAMES = ["a"]
        SECRET = "geheim"
        CACHE = {}
        model = None
        class Config:
            limit = 1
        def helper(x): return x + LIMIT + len(NAMES)
        def get_model():
            global model
            if model is None: model = object
            return model
        def process(x, known=[]):
            known.append(x)
            get_model()
            return CACHE.setdefault(x, helper(x)), Config.limit, SECRET
        """
    )


def test_asked_again_it_is_the_very_same(pipeline):
    assert code_of(pipeline.process) is code_of(pipeline.process)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda module: setattr(module, "LIMIT", 4), id="a constant is bound anew"),
        pytest.param(lambda module: setattr(module, "helper", lambda x: x), id="a helper is defined anew"),
        pytest.param(lambda module: module.NAMES.append("b"), id="a list grows"),
        pytest.param(lambda module: setattr(module.Config, "limit", 2), id="an attribute of a class is set"),
        pytest.param(lambda module: delattr(module, "helper"), id="a helper is gone"),
        pytest.param(lambda module: setattr(module, "len", sum), id="a builtin is hidden"),
        pytest.param(lambda module: module.process.__defaults__[0].append(1), id="a default grows"),
        pytest.param(lambda module: setattr(module.process, "__defaults__", ((),)), id="a default is set"),
    ],
)
def test_a_change_between_two_questions_is_noticed(pipeline, change):
    """In a notebook, say, where a cell runs again."""
    before = of_function(pipeline.process)

    change(pipeline)

    assert of_function(pipeline.process) != before


def test_what_was_changed_and_changed_back_is_as_before(pipeline):
    before = of_function(pipeline.process)

    pipeline.NAMES.append("b")
    changed = of_function(pipeline.process)
    pipeline.NAMES.pop()

    assert of_function(pipeline.process) == before != changed


def test_what_a_run_itself_changes_does_not_count(pipeline):
    """A cache that is filled, a default that grows, a model that is loaded when it is first needed."""
    before = of_function(pipeline.process)

    with frozen():
        pipeline.process(1)
        assert of_function(pipeline.process) == before, "while it runs"
    pipeline.process(2)  # grows further

    assert of_function(pipeline.process) == before
    assert pipeline.CACHE.keys() == {1, 2}


def test_what_is_first_asked_in_a_run_is_held_to_that(pipeline):
    with frozen():
        before = of_function(pipeline.process)
        pipeline.process(1)

    assert of_function(pipeline.process) == before


def test_what_is_asked_after_a_run_for_the_first_time_is_as_it_is(pipeline):
    with frozen():
        pipeline.process(1)

    assert code_of(pipeline.process).digest == code_of(pipeline.process).digest


@pytest.mark.parametrize(
    "change",
    [
        lambda module: setattr(module, "LIMIT", 4),
        lambda module: setattr(module, "helper", lambda x: x),
        lambda module: setattr(module, "model", int),
        lambda module: module.NAMES.append("b"),
    ],
)
def test_after_a_run_changes_are_noticed_as_before(pipeline, change):
    of_function(pipeline.process)
    with frozen():
        pipeline.process(1)
    before = of_function(pipeline.process)

    change(pipeline)

    assert of_function(pipeline.process) != before


def test_what_changed_before_a_run_is_not_held_back(pipeline):
    first = of_function(pipeline.process)
    pipeline.NAMES.append("b")

    with frozen():
        second = of_function(pipeline.process)

    assert first != second == of_function(pipeline.process)


def test_runs_inside_one_another_are_one(pipeline):
    before = of_function(pipeline.process)

    with frozen():
        with frozen():
            pipeline.process(1)
        pipeline.process(2)
        assert of_function(pipeline.process) == before

    assert of_function(pipeline.process) == before


def test_a_run_that_fails_is_over(pipeline):
    before = of_function(pipeline.process)
    with pytest.raises(ZeroDivisionError), frozen():
        raise ZeroDivisionError

    pipeline.NAMES.append("b")

    assert of_function(pipeline.process) != before


def test_a_cell_that_runs_again_is_another_function():
    """As in a notebook, where nobody knows the file."""
    namespace = {"__name__": "__main__"}
    exec("def helper(x): return x + 1\ndef process(x): return helper(x)", namespace)
    before = of_function(namespace["process"])

    exec("def helper(x): return x + 2", namespace)

    assert of_function(namespace["process"]) != before


@pytest.mark.parametrize(("one", "other"), [("g(x) + 1", "g(x) + 2"), ("m.LIMIT", "m.OTHER"), ("self.n", "self.o")])
def test_helpers_constants_and_attributes_count_where_there_is_no_source(imported, one, other):
    module = imported(constants_of_no_source="LIMIT, OTHER = 1, 2")
    digests = []
    for text in (one, other):
        namespace = {"__name__": "somewhere", "m": module}
        exec(f"def g(x): return x\ndef h(self, x): return {text}\nclass A:\n    n = 1\n    o = 2\n    f = h", namespace)
        digests.append(code_of(namespace["A"].f, owner=namespace["A"]).digest)

    assert len(set(digests)) == 2
    namespace["A"].o = 3
    module.OTHER = 5
    namespace["g"] = None
    assert code_of(namespace["A"].f, owner=namespace["A"]).digest not in digests


# -- units ------------------------------------------------------------------------------------------------------------


def test_units_name_all_that_is_reached_the_function_first(pipeline):
    names = list(code_of(pipeline.process).units)

    assert names[0] == "a_pipeline.process"
    assert set(names) == {
        f"a_pipeline.{name}"
        for name in ("process", "CACHE", "Config", "SECRET", "get_model", "helper", "LIMIT", "NAMES", "model")
    }


def test_the_text_of_a_unit_is_that_of_the_file_or_a_plain_number(pipeline):
    units = code_of(pipeline.process).units

    assert units["a_pipeline.helper"].text == "def helper(x): return x + LIMIT + len(NAMES)\n"
    assert units["a_pipeline.LIMIT"].text == "LIMIT = 3"
    assert units["a_pipeline.model"].text == "model = None"


def test_the_text_of_a_constant_that_may_be_a_secret_is_nowhere(pipeline):
    assert "geheim" not in repr(code_of(pipeline.process))


def test_a_long_text_is_left_out(imported):
    module = imported(long_pipeline="def process(x):\n" + "    x += 1\n" * 500 + "    return x\n")

    assert code_of(module.process).units["long_pipeline.process"].text == ""


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [("= 1", "= 2", "LIMIT"), ("y=2", "y=3", "helper"), ("return LIMIT", "return -LIMIT", "deep")],
)
def test_only_the_unit_that_changes_has_another_digest(imported, old, new, changed):
    source = """
    LIMIT = 1
    def deep(x): return LIMIT
    def helper(x, y=2): return deep(x)
    def process(x): return helper(x)
    """
    before, after = imported(units_before=source), imported(units_after=source.replace(old, new))

    then, now = (
        {name.partition(".")[2]: unit.digest for name, unit in code_of(module.process).units.items()}
        for module in (before, after)
    )

    assert then.keys() == now.keys()
    assert {name for name in then if then[name] != now[name]} == {changed}


def test_what_an_object_or_a_partial_holds_is_a_unit_too(imported):
    module = imported(
        object_pipeline="""
        import functools
        class Reader:
            def __init__(self, n): self.n = n
            def read(self, x): return x
        def h(x, n): return x
        """
    )
    one, other = (code_of(module.Reader(n).read) for n in (1, 2))
    two, three = (code_of(functools.partial(module.h, n=n)) for n in (2, 3))

    reader = "object_pipeline.Reader"
    assert list(one.units) == [f"{reader}.read()", f"{reader}.read", reader]
    assert [name for name in one.units if one.units[name] != other.units[name]] == [f"{reader}.read()"]
    assert list(two.units) == ["functools.partial()", "object_pipeline.h"]
    assert [name for name in two.units if two.units[name] != three.units[name]] == ["functools.partial()"]


def test_a_class_of_a_shell_counts_with_its_special_methods():
    digests = set()
    for value in (1, 2):
        namespace = {"__name__": "somewhere"}
        exec(f"class Step:\n    n = []\n    def __call__(self, x): return x + {value}\nstep = Step()", namespace)
        digests.add(of_function(namespace["step"]))

    assert len(digests) == 2


def test_what_a_task_requires_counts_by_what_it_has_written_and_not_as_code(imported):
    """Else nothing would ever be cut off: a change above would make everything below stale."""
    module = imported(
        graph_of_tasks="""
        class Above:
            def process(self, x): return 1
        class Task:
            def requires(self): return Above()
            def process(self, x): return self.requires(), self.named()
            def named(self): return 2
        """
    )

    units = code_of(module.Task.process, owner=module.Task).units

    assert list(units) == ["graph_of_tasks.Task.process", "graph_of_tasks.Task.named"]


def test_a_function_that_is_no_method_has_no_self(imported):
    """Its first argument is data, which may have a ``size`` as a task has."""
    module = imported(
        static_pipeline="""
        def run(image): return image.size
        class Task:
            size = 3
            function = staticmethod(run)
        """
    )

    assert list(code_of(module.Task.function, owner=module.Task).units) == ["static_pipeline.run"]


def test_a_second_definition_of_one_name_has_a_number(imported):
    module = imported(
        two_pipeline="""
        def make(n):
            def inner(x): return x * n
            return inner
        one, two = make(1), make(2)
        def process(x): return one(two(x))
        """
    )

    inner = "two_pipeline.make.<locals>.inner"
    assert list(code_of(module.process).units) == ["two_pipeline.process", inner, f"{inner}#2"]


# -- where a definition lies -------------------------------------------------------------------------------------------

SCRIPT = """
import json, sys
from pathlib import Path
from enum import Enum
import logging
from luisy_dir.code import code_of

logger = logging.getLogger(__name__)
LIMIT = {"b", "a"}

class Colour(Enum):
    RED = 1

class Opaque:
    __slots__ = ()

class Base:
    factor = 2
    def scale(self, x):
        return x * self.factor

class Task(Base):
    def process(self, x):
        logger.info(__name__)
        return super().scale(x), LIMIT, Colour.RED, Helper(x), hidden, __file__

class Helper:
    def __init__(self, x):
        self.x = x

hidden = Opaque()

def answer():
    code = code_of(Task.process, owner=Task)
    return [code.digest, list(code.opaque), {name: unit.digest for name, unit in code.units.items()}]

if __name__ == "__main__":
    print(json.dumps(answer()))
"""


def test_a_script_and_the_module_of_the_same_file_have_one_digest(tmp_path):
    (tmp_path / "a_script.py").write_text(SCRIPT)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "a_script.py").write_text(SCRIPT)
    ask = "import json, {0} as module; print(json.dumps(module.answer()))"

    script = run_python("a_script.py", path=tmp_path)
    module = run_python("-c", ask.format("a_script"), path=tmp_path)
    with_m = run_python("-m", "package.a_script", path=tmp_path)
    in_package = run_python("-c", ask.format("package.a_script"), path=tmp_path)

    assert script == module
    assert with_m == in_package
    assert script[1] == ["a_script.hidden"]
    assert "a_script.Task.process" in script[2]
    assert script[2]["a_script.Task.process"] == with_m[2]["package.a_script.Task.process"]


def test_it_does_not_matter_what_happens_to_be_imported(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "helpers.py").write_text("def h(x): return 1")
    (tmp_path / "pipeline.py").write_text(
        "import package\ndef a(x): return package.helpers.h(x)\n"
        "def b(x):\n    from package.helpers import h\n    return h(x)"
    )
    ask = (
        "{0}; import json, pipeline; from luisy_dir.code import of_function;"
        "print(json.dumps([of_function(pipeline.a), of_function(pipeline.b)]))"
    )

    without, with_it = (
        run_python("-c", ask.format(line), path=tmp_path) for line in ("pass", "import package.helpers")
    )

    assert without == with_it


def test_a_module_that_cannot_be_imported_is_opaque(imported):
    module = imported(
        broken_pipeline="def process(x):\n    from broken_helpers import h\n    return h(x)",
        broken_helpers="raise SystemExit(3)",
    )

    code = code_of(module.process)

    assert code.opaque == ("broken_helpers",)
    assert code.digest.startswith("opaque:")


def test_a_library_that_is_not_there_is_no_error_and_not_opaque(imported):
    module = imported(
        optional_pipeline="def process(x):\n    import no_such_library as lib\n    return lib.h(x) + gone"
    )

    assert not code_of(module.process).opaque


# -- what is installed ------------------------------------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path, imported, monkeypatch):
    """As ``imported``, but where packages are installed."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def installed(**files):
        for name, source in files.items():
            path = folder / f"{name.replace('.', '/')}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(textwrap.dedent(source))

    return installed


HELPED = "from {0}.helpers import h\ndef process(x): return h(x)\nclass Task:\n    def process(self, x): return h(x)"


def test_a_library_counts_by_name(installed, imported):
    installed(**{"a_library.__init__": "", "a_library.helpers": "LIMIT = 1\ndef h(x): return LIMIT"})
    module = imported(with_library=HELPED.format("a_library"))
    before = of_function(module.process)

    import a_library.helpers

    a_library.helpers.LIMIT = 2
    assert of_function(module.process) == before
    assert list(code_of(module.process).units) == ["with_library.process"]
    assert code_of(a_library.helpers.h).digest == "builtin:a_library.helpers.h"


def test_a_pipeline_that_is_installed_counts_as_any_other(installed, imported):
    """It is told from a library by what it uses."""
    installed(
        **{
            "a_product.__init__": "",
            "a_product.helpers": "LIMIT = 1\ndef h(x): return LIMIT",
            "a_product.tasks": "import luisy_dir as luisy\n" + HELPED.format("a_product"),
        }
    )
    tasks = importlib.import_module("a_product.tasks")

    for code in (code_of(tasks.process), code_of(tasks.Task.process, owner=tasks.Task)):
        assert "a_product.helpers.LIMIT" in code.units


def test_of_this_package_only_the_demo_is_looked_into():
    from luisy_dir.demo.red_channel import RedChannel, read_image
    from luisy_dir.item import list_files

    assert code_of(list_files).digest == "builtin:luisy_dir.item.list_files"
    assert list(code_of(RedChannel.process, owner=RedChannel).units) == [
        "luisy_dir.demo.red_channel.RedChannel.process"
    ]
    assert list(code_of(read_image).units) == ["luisy_dir.demo.red_channel.read_image"]


def test_a_user_s_function_in_a_library_s_object_counts_though_the_object_is_opaque(imported):
    source = "import numpy as np\ndef h(x): return VALUE\nscale = np.vectorize(h)\ndef process(x): return scale(x)"
    one, other = (code_of(imported(**{f"vector{n}": source.replace("VALUE", n)}).process) for n in "12")

    assert one.digest != other.digest
    assert one.opaque == ("vector1.scale",)


# -- what cannot be looked into ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "opaque"),
    [
        ("threading.Lock()", True),
        ("open(os.devnull)", True),
        ("iter([1])", True),
        ("np.random.default_rng(0)", True),
        ("[1, {'a': threading.Lock()}]", True),
        ("os.environ", True),
        ("logging.getLogger('a')", False),
        ("object()", False),
        ("Holder(threading.Lock())", True),
        ("Holder(5)", False),
        ("Hostile()", True),
        ("typing.Optional[int]", False),
        ("[int | None, list[str], typing.TypeVar('T')]", False),
        ("(np.add, np.sqrt, math.sin, str.upper, len, int.__add__)", False),
        ("operator.attrgetter('a')", True),
        ("Error('a')", False),
    ],
)
def test_what_cannot_be_looked_into_is_named(imported, value, opaque):
    module = imported(
        opaque_pipeline=f"""
        import logging, math, operator, os, threading, typing
        import numpy as np
        class Holder:
            def __init__(self, held): self.held = held
        class Hostile:
            def __getattribute__(self, name): raise RuntimeError(name)
        class Error(Exception): pass
        VALUE = {value}
        def process(x): return VALUE
        def other(x): return x
        """
    )

    code = code_of(module.process)

    assert code.opaque == (("opaque_pipeline.VALUE",) if opaque else ())
    assert code.digest.startswith("opaque:") == opaque
    assert not code_of(module.other).opaque
    if "open" in value:
        module.VALUE.close()


def test_objects_that_refer_to_each_other_many_times_take_no_longer(imported):
    """A graph has more ways through it than there is time."""
    module = imported(
        graph_pipeline="""
        class Node:
            def __init__(self): self.others = []
        NODES = [Node() for _ in range(60)]
        for node in NODES: node.others += NODES
        def process(x): return NODES
        """
    )
    before = of_function(module.process)

    module.NODES[-1].others[-1] = module.NODES[0]

    assert of_function(module.process) != before


def test_what_a_set_holds_is_in_no_order(tmp_path):
    (tmp_path / "sets.py").write_text(
        textwrap.dedent("""
        import json
        from luisy_dir.code import of_function
        class Point:
            def __init__(self, x): self.x = [x]
        def h(x): return 1
        def g(x): return 2
        VALUES = {Point(1), Point(2), Point(3), h, g, None, "a", (1, "b")}
        def process(x): return VALUES
        print(json.dumps(of_function(process)))
        """)
    )

    assert len({run_python("sets.py", path=tmp_path, seed=seed) for seed in range(4)}) == 1


# -- files that are edited while they are used -------------------------------------------------------------------------


@pytest.mark.parametrize("root", ["process", "Task", "whole"])
def test_a_file_that_was_edited_since_counts_as_it_was_loaded(imported, root):
    """The result is made by what was loaded, and stale for what comes."""
    source = """
    import sys
    class Task:
        def process(self, x): return VALUE
    def process(x): return VALUE
    def whole(x): return getattr(sys.modules[__name__], x)
    """
    loaded = imported(edited_one=source.replace("VALUE", "1"))
    with open(loaded.__file__, "w") as file:
        file.write(textwrap.dedent(source.replace("VALUE", "2")))

    new = imported(edited_two=source.replace("VALUE", "2"))

    ask = {
        "process": lambda module: code_of(module.process),
        "Task": lambda module: code_of(module.Task),
        "whole": lambda module: code_of(functools.partial(print, module)),
    }[root]
    assert ask(loaded).digest != ask(new).digest


def test_lines_that_moved_in_a_file_since_do_not_count(imported):
    source = "def helper(x): return 1\ndef process(x):\n    '''Help.'''\n    return helper(x)\n"
    loaded = imported(moved_one=source)
    with open(loaded.__file__, "w") as file:
        file.write("# a comment\n\n\n" + source.replace("Help", "Helps"))

    assert of_function(loaded.process) == of_function(imported(moved_two=source).process)


def test_a_file_that_is_broken_or_gone_since_is_no_error(imported):
    source = "def helper(x): return 1\ndef process(x): return helper(x)\n"
    broken, gone = imported(broken_one=source), imported(gone_one=source)
    with open(broken.__file__, "w") as file:
        file.write("def (")
    os.unlink(gone.__file__)

    assert of_function(broken.process) == of_function(gone.process)
    assert list(code_of(broken.process).units) == ["broken_one.process", "broken_one.helper"]
