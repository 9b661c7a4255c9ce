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

from luisy_dir.code import of_function
from luisy_dir.fingerprint import is_opaque


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
