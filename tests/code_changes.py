"""Changes of code, and which functions and tasks each makes stale; read by ``test_code.py``.

A case is a package of its own. Its roots are the functions of ``pipeline.py`` with names of one letter, and its classes
with such names, of which ``process`` is asked about. ``PKG`` stands for the package's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent


@dataclass(frozen=True)
class Change:
    """Files before, what is replaced by what in ``pipeline.py`` or the named file, and the roots that this affects."""

    name: str
    files: dict[str, str]
    edits: tuple[tuple[str, str, str], ...]
    stale: frozenset[str]

    def before(self) -> dict[str, str]:
        """Text of each file."""
        return {"__init__.py": "", **{name: dedent(text).strip() + "\n" for name, text in self.files.items()}}

    def after(self) -> dict[str, str]:
        """The same, changed; an edit that would change nothing is a mistake in the table."""
        files = self.before()
        for name, old, new in self.edits:
            changed = files.get(name, "").replace(old, new) if old else dedent(new)
            assert changed != files.get(name), (self.name, old)
            files[name] = changed
        return files


CHANGES: list[Change] = []


def change(name: str, pipeline: str, *edits: tuple[str, ...], stale: str = "", **others: str) -> None:
    """Add a case; an edit of two parts is one of ``pipeline.py``, an edit of an empty text writes the file anew."""
    files = {"pipeline.py": pipeline} | {f"{name}.py": text for name, text in others.items()}
    full = tuple(edit if len(edit) == 3 else ("pipeline.py", *edit) for edit in edits)
    CHANGES.append(Change(name, files, full, frozenset(stale)))


# -- helpers ----------------------------------------------------------------------------------------------------------

HELPERS = """
    def deep(x): return x + 1
    def helper(x): return deep(x)
    def a(x): return helper(x)
    def b(x): return x
    def c(x): return deep(x)
"""
change("a helper", HELPERS, ("return deep(x)\ndef a", "return deep(x) * 2\ndef a"), stale="a")
change("a helper of a helper", HELPERS, ("x + 1", "x + 2"), stale="ac")
change("a root itself", HELPERS, ("def b(x): return x", "def b(x): return -x"), stale="b")
change("a helper that is given another name", HELPERS, ("helper", "assistant"), stale="a")
change(
    "a default of a helper",
    """
    def h(x, y=1): return x
    def a(x): return h(x)
    def b(x): return x
    """,
    ("y=1", "y=2"),
    stale="a",
)
change(
    "a keyword default",
    """
    def h(*, y=1): return y
    def a(x): return h()
    def b(x): return x
    """,
    ("y=1", "y=2"),
    stale="a",
)
change(
    "a default that is a helper",
    """
    def h(x): return 1
    def a(x, f=h): return f(x)
    def b(x): return x
    """,
    ("return 1", "return 2"),
    stale="a",
)
change(
    "a name of a local",
    """
    def h(x):
        y = x
        return y
    def a(x): return h(x)
    def b(x): return x
    """,
    ("y", "z"),
    stale="a",
)
change(
    "a lambda",
    """
    h = lambda x: x + 1
    def a(x): return h(x)
    def b(x): return x
    """,
    ("x + 1", "x + 2"),
    stale="a",
)
change(
    "one of two lambdas in a line",
    """
    h, g = (lambda x: x + 1), (lambda x: x + 7)
    def a(x): return h(x)
    def b(x): return g(x)
    """,
    ("x + 7", "x + 8"),
    stale="b",
)
change(
    "a value that a helper closes over",
    """
    def make(n):
        def inner(x): return x * n
        return inner
    double, triple = make(2), make(3)
    def a(x): return double(x)
    def b(x): return triple(x)
    def c(x): return x
    """,
    ("make(2)", "make(4)"),
    stale="a",
)
change(
    "an argument of a partial",
    """
    from functools import partial
    def h(x, n): return x * n
    g = partial(h, n=2)
    def a(x): return g(x)
    def b(x): return h(x, 1)
    """,
    ("n=2", "n=3"),
    stale="a",
)
change(
    "the function of a partial",
    """
    from functools import partial
    def h(x, n): return x * n
    g = partial(h, n=2)
    def a(x): return g(x)
    def b(x): return x
    """,
    ("x * n", "x + n"),
    stale="a",
)
change(
    "functions that call each other",
    """
    def even(n): return n == 0 or odd(n - 1)
    def odd(n): return n != 0 and even(n - 1)
    def a(x): return even(x)
    def b(x): return odd(x)
    def c(x): return x
    """,
    ("n != 0", "n > 0"),
    stale="ab",
)
change(
    "async def",
    """
    async def h(x): return 1
    async def a(x): return await h(x)
    def b(x): return x
    """,
    ("return 1", "return 2"),
    stale="a",
)
change(
    "a generator",
    """
    def h(x): yield 1
    def a(x): yield from h(x)
    def b(x): return x
    """,
    ("yield 1", "yield 2"),
    stale="a",
)
change(
    "a helper in a comprehension, a lambda and a nested function",
    """
    def h(x): return 1
    def a(x): return [h(y) for y in x]
    def b(x): return map(lambda y: h(y), x)
    def c(x):
        def inner(y): return h(y)
        return inner(x)
    def d(x): return [h for h in x]
    def e(h): return h(1)
    """,
    ("return 1\n", "return 2\n"),
    stale="abc",
)
change(
    "the first iterable of a comprehension bears the name of its variable",
    """
    VALUES = [1]
    def a(x): return [VALUES for VALUES in VALUES]
    def b(x): return x
    """,
    ("[1]", "[2]"),
    stale="a",
)
change(
    "what a local of the same name hides",
    """
    def h(x): return 1
    def a(x):
        h = len
        return h(x)
    def b(x):
        for h in x: print(h)
    def c(x):
        import math as h
        return h.pi
    def d(x):
        return h(x)
    def e(x):
        try: pass
        except ValueError as h: print(h)
        with open(x) as h: return h
    """,
    ("return 1", "return 2"),
    stale="d",
)
change(
    "one of two definitions of one name",
    """
    FAST = False
    if FAST:
        def h(x): return 1
    else:
        def h(x): return 2
    def a(x): return h(x)
    def b(x): return x
    """,
    ("return 2", "return 3"),
    stale="a",
)
change(
    "the definition of a name that is not taken",
    """
    FAST = False
    if FAST:
        def h(x): return 1
    else:
        def h(x): return 2
    def a(x): return h(x)
    """,
    ("return 1", "return 3"),
)

# -- decorators -------------------------------------------------------------------------------------------------------

WRAPPING = """
    import functools
    def twice(g):
        def wrapper(x): return g(g(x))
        return wrapper
    def kindly(g):
        @functools.wraps(g)
        def wrapper(x): return g(x) or 0
        return wrapper
    @twice
    def h(x): return x + 1
    @kindly
    def k(x): return x + 3
    def a(x): return h(x)
    def b(x): return k(x)
    def c(x): return x
"""
change("a decorated helper", WRAPPING, ("x + 1", "x + 2"), stale="a")
change("a helper that is decorated with wraps", WRAPPING, ("x + 3", "x + 4"), stale="b")
change("a decorator", WRAPPING, ("g(g(x))", "g(x)"), stale="a")
change("a decorator with wraps", WRAPPING, ("or 0", "or 1"), stale="b")
change("a decorator is taken away", WRAPPING, ("@twice\n", ""), stale="a")
change(
    "the argument of a decorator",
    """
    def times(n):
        def decorate(g):
            def wrapper(x): return g(x) * n
            return wrapper
        return decorate
    @times(2)
    def h(x): return x
    def a(x): return h(x)
    def b(x): return x
    """,
    ("@times(2)", "@times(3)"),
    stale="a",
)
change(
    "a helper that is cached",
    """
    import functools
    @functools.lru_cache
    def h(x): return 1
    def a(x): return h(x)
    def b(x): return x
    """,
    ("return 1", "return 2"),
    stale="a",
)
change(
    "a helper that a library's decorator wraps",
    """
    import contextlib
    @contextlib.contextmanager
    def h(x): yield 1
    def a(x):
        with h(x) as y: return y
    def b(x): return x
    """,
    ("yield 1", "yield 2"),
    stale="a",
)
change(
    "one function of a singledispatch",
    """
    import functools
    @functools.singledispatch
    def h(x): return 0
    @h.register
    def _(x: int): return 1
    @h.register
    def _(x: str): return 2
    def a(x): return h(x)
    def b(x): return x
    """,
    ("return 2", "return 3"),
    stale="a",
)
change(
    "an attribute of a function",
    """
    def h(x): return x
    h.factor = 2
    def a(x): return h.factor * x
    def b(x): return h(x)
    """,
    ("factor = 2", "factor = 3"),
    stale="a",
)

# -- constants --------------------------------------------------------------------------------------------------------

for one, other, what in [
    ("3", "4", "a number"),
    ("3", "3.0", "the type of a number"),
    ("'a'", "'b'", "a text"),
    ("[1, [2]]", "[1, [3]]", "a list"),
    ("{'a': 1}", "{'a': 2}", "a dictionary"),
    ("{'a': 1, 'b': 2}", "{'b': 2, 'a': 1}", "the order of a dictionary"),
    ("{'a', 'b'}", "{'a', 'c'}", "a set"),
    ("np.array([1, 2])", "np.array([1, 3])", "an array"),
    ("np.array([1, 2])", "np.array([1, 2], 'f4')", "the type of an array"),
    ("np.dtype('f4')", "np.dtype('f8')", "a type of arrays"),
    ("Path('a')", "Path('b')", "a path"),
    ("re.compile('a' * 300)", "re.compile('a' * 301)", "a pattern"),
    ("Colour.RED", "Colour.BLUE", "a member of an Enum"),
    ("Point(1, 2)", "Point(1, 3)", "an object of a dataclass"),
    ("Pair(1, 2)", "Pair(1, 3)", "a named tuple"),
    ("deque([1])", "deque([2])", "a deque"),
    ("defaultdict(list)", "defaultdict(set)", "the factory of a defaultdict"),
    ("[np.sqrt]", "[np.log]", "a function of numpy in a list"),
    ("slice(1, 2)", "slice(1, 3)", "a slice"),
    ("timedelta(1)", "timedelta(2)", "a duration"),
]:
    change(
        f"a constant: {what}",
        f"""
        import re
        from collections import defaultdict, deque
        from dataclasses import dataclass
        from datetime import timedelta
        from enum import Enum
        from pathlib import Path
        from typing import NamedTuple
        import numpy as np
        class Colour(Enum):
            RED = 1
            BLUE = 2
        @dataclass
        class Point:
            x: int
            y: int
        class Pair(NamedTuple):
            x: int
            y: int
        LIMIT = {one}
        OTHER = 5
        def a(x): return x, LIMIT
        def b(x): return OTHER
        """,
        (f"LIMIT = {one}", f"LIMIT = {other}"),
        stale="a",
    )
change(
    "the order of a set",
    """
    LIMIT = {'a', 'b', 'c'}
    def a(x): return x in LIMIT
    """,
    ("'a', 'b', 'c'", "'c', 'a', 'b'"),
)
change(
    "another spelling of a constant",
    """
    LIMIT = 255
    def a(x): return x + LIMIT
    """,
    ("255", "0xff"),
)
change(
    "a constant in another module",
    """
    from . import config
    import PKG.config as settings
    def a(x): return config.LIMIT
    def b(x): return settings.LIMIT
    def c(x): return config.OTHER
    """,
    ("config.py", "LIMIT = 1", "LIMIT = 2"),
    stale="ab",
    config="LIMIT = 1\nOTHER = 5",
)
change(
    "a constant at the end of a chain of modules",
    """
    import PKG.sub.config
    from . import sub
    def a(x): return PKG.sub.config.LIMIT
    def b(x): return sub.config.LIMIT
    def c(x): return sub
    """,
    ("sub/config.py", "LIMIT = 1", "LIMIT = 2"),
    stale="ab",
    **{"sub/__init__": "", "sub/config": "LIMIT = 1"},
)
change(
    "what a constant is computed from",
    """
    from .config import BASE
    LIMIT = BASE * 2
    def a(x): return LIMIT
    def b(x): return x
    """,
    ("config.py", "BASE = 1", "BASE = 2"),
    stale="a",
    config="BASE = 1",
)
change(
    "a table of helpers",
    """
    def h(x): return 1
    def g(x): return 2
    STEPS = {'h': h}
    def a(x): return STEPS['h'](x)
    def b(x): return g(x)
    """,
    ("return 1", "return 3"),
    stale="a",
)

# -- modules ----------------------------------------------------------------------------------------------------------

change(
    "a helper in another module",
    """
    from .helpers import h
    from . import helpers
    def a(x): return h(x)
    def b(x): return helpers.h(x)
    def c(x): return helpers.g(x)
    """,
    ("helpers.py", "return 1", "return 2"),
    stale="ab",
    helpers="def h(x): return 1\ndef g(x): return 5",
)
change(
    "a helper that is imported inside a function",
    """
    def a(x):
        from .helpers import h as helper
        return helper(x)
    def b(x):
        import PKG.helpers
        return PKG.helpers.h(x)
    def c(x):
        from PKG import helpers
        def inner(): return helpers.h(x)
        return inner()
    def d(x):
        import PKG.helpers as helpers
        return helpers.g(x)
    """,
    ("helpers.py", "return 1", "return 2"),
    stale="abc",
    helpers="def h(x): return 1\ndef g(x): return 5",
)
change(
    "a star import",
    """
    from .helpers import *
    def a(x): return h(x)
    def b(x): return x
    """,
    ("helpers.py", "return 1", "return 2"),
    stale="a",
    helpers="def h(x): return 1",
)
change(
    "a module that is used as a whole",
    """
    from . import helpers
    def a(x): return getattr(helpers, x)()
    def b(x): return helpers.h()
    def c(x): return getattr(helpers, 'h')()
    """,
    ("helpers.py", "return 2", "return 3"),
    stale="a",
    helpers="def h(): return 1\ndef g(): return 2",
)
change(
    "what a module that is used as a whole imports from elsewhere",
    """
    from . import helpers
    def a(x): return getattr(helpers, x)()
    def b(x): return helpers.h()
    """,
    ("deep.py", "return 2", "return 3"),
    stale="a",
    helpers="from .deep import g\ndef h(): return 1",
    deep="def g(): return 2",
)
change(
    "a helper moves to another module",
    """
    from .helpers import h
    def a(x): return h(x)
    def b(x): return x
    """,
    ("from .helpers", "from .others"),
    ("helpers.py", "", "LIMIT = 1\n"),
    (
        "others.py",
        "",
        "# moved\nfrom .helpers import LIMIT\ndef g(x):\n    return LIMIT\n\ndef h(x): return g(x) + LIMIT\n",
    ),
    helpers="LIMIT = 1\ndef g(x): return LIMIT\ndef h(x): return g(x) + LIMIT",
)
change(
    "an installed function, by its name",
    """
    from math import floor as h
    from math import pi
    def a(x): return h(x)
    def b(x): return x
    """,
    ("floor as", "ceil as"),
    stale="a",
)
change(
    "an installed class, by its name",
    """
    from collections import OrderedDict as H
    def a(x): return H(x)
    def b(x): return x
    """,
    ("OrderedDict as", "Counter as"),
    stale="a",
)
change(
    "an installed module, by its name",
    """
    import json as h
    def a(x): return h.loads(x)
    def b(x): return x
    """,
    ("json", "marshal"),
    stale="a",
)
change(
    "a function that is written in C",
    """
    from numpy import sqrt as h
    from numpy import add as g
    def a(x): return h(x)
    def b(x): return g(x, x)
    """,
    ("sqrt", "log"),
    stale="a",
)
change(
    "a builtin that is hidden",
    """
    def a(x): return len(x)
    def b(x): return x
    """,
    ("def b", "def len(x): return 0\ndef b"),
    stale="a",
)
change(
    "a name that was missing",
    """
    def a(x): return later(x)
    def b(x): return x
    """,
    ("def b", "def later(x): return 0\ndef b"),
    stale="a",
)

# -- classes ----------------------------------------------------------------------------------------------------------

CLASSES = '''
    class Base:
        """A base."""
        def shift(self, x): return x + 1
    class Scaler(Base):
        factor = 2
        def scale(self, x): return self.shift(x) * self.factor
        def unused(self): return 0
    def a(x): return Scaler().scale(x)
    def b(x): return Base().shift(x)
    def c(x): return x
'''
change("a method of a class that is used", CLASSES, ("self.shift(x) * self", "self.shift(x) / self"), stale="a")
change("a base class", CLASSES, ("x + 1", "x + 2"), stale="ab")
change("an attribute of a class that is used", CLASSES, ("factor = 2", "factor = 3"), stale="a")
change("the docstring of a class", CLASSES, ("A base.", "The base."))
change("a base of a class is another one", CLASSES, ("(Base)", ""), stale="a")
change(
    "a field of a dataclass",
    """
    from dataclasses import dataclass
    @dataclass
    class Point:
        x: int
        y: int = 1
    def a(x): return Point(x)
    def b(x): return x
    """,
    ("y: int = 1", "y: int = 2"),
    stale="a",
)
change(
    "the type of a field of a dataclass",
    """
    from dataclasses import dataclass
    @dataclass
    class Point:
        x: int
    def a(x): return Point(x)
    def b(x): return x
    """,
    ("x: int", "x: float"),
    stale="a",
)
change(
    "the argument of the decorator of a class",
    """
    from dataclasses import dataclass
    @dataclass(order=True)
    class Point:
        x: int
    def a(x): return Point(x)
    def b(x): return x
    """,
    ("order=True", "frozen=True"),
    stale="a",
)
change(
    "the value of another member of an Enum",
    """
    from enum import Enum
    class Colour(Enum):
        RED = 1
        BLUE = 2
    def a(x): return Colour(x)
    def b(x): return Colour.RED
    def c(x): return x
    """,
    ("BLUE = 2", "BLUE = 3"),
    stale="ab",
)
change(
    "a field of a NamedTuple",
    """
    from typing import NamedTuple
    class Point(NamedTuple):
        x: int
        y: int = 1
    def a(x): return Point(x)
    def b(x): return x
    """,
    ("y: int = 1", "y: int = 2"),
    stale="a",
)
change(
    "a field of a namedtuple that is made by a call",
    """
    from collections import namedtuple
    Point = namedtuple('Point', 'x y')
    def a(x): return Point(x, x)
    def b(x): return x
    """,
    ("x y", "x z"),
    stale="a",
)
change(
    "what a class refers to",
    """
    def h(x): return 1
    LIMIT = 1
    class Scaler:
        def scale(self, x): return h(x)
    class Other:
        limit = LIMIT
    def a(x): return Scaler()
    def b(x): return Other
    def c(x): return x
    """,
    ("return 1", "return 2"),
    stale="a",
)
CALLABLE = """
    class Step:
        def __init__(self, n): self.n = n
        def __call__(self, x): return x + self.n
    one, two = Step(1), Step(2)
    def a(x): return one(x)
    def b(x): return two(x)
    def c(x): return x
"""
change("the state of an object that is called", CALLABLE, ("Step(1)", "Step(3)"), stale="a")
change("the class of an object that is called", CALLABLE, ("x + self", "x - self"), stale="ab")
change(
    "a class inside a function",
    """
    def h(x):
        class Local:
            def get(self): return 1
        return Local
    def a(x): return h(x)
    def b(x): return x
    """,
    ("return 1", "return 2"),
    stale="a",
)
change(
    "one of two classes of one name",
    """
    if False:
        class H:
            def f(self): return 1
    else:
        class H:
            def f(self): return 2
    def a(x): return H()
    def b(x): return x
    """,
    ("return 2", "return 3"),
    stale="a",
)

change(
    "an attribute of a class that another module has given",
    """
    from .helpers import h
    LIMIT = 1
    class Scaler:
        scale = h
        def limit(self): return LIMIT
    def a(x): return Scaler()
    def b(x): return h(x)
    def c(x): return x
    """,
    ("LIMIT = 1", "LIMIT = 2"),
    stale="a",
    helpers="LIMIT = 5\ndef h(x): return LIMIT",
)
change(
    "an attribute that is set on a class from outside",
    """
    class Scaler:
        def scale(self, x): return x
    def other(self, x): return 1
    Scaler.scale = other
    Scaler.factor = 3
    def a(x): return Scaler()
    def b(x): return x
    """,
    ("factor = 3", "factor = 4"),
    ("return 1", "return 2"),
    stale="a",
)
change(
    "many values",
    """
    VALUES = list(range(1000)) + [0]
    TABLE = {n: n for n in range(1000)} | {0: 1}
    def a(x): return VALUES
    def b(x): return TABLE
    def c(x): return x
    """,
    ("[0]", "[1]"),
    ("0: 1", "0: 2"),
    stale="ab",
)

# -- tasks ------------------------------------------------------------------------------------------------------------

TASKS = """
    import functools
    def helper(x): return 1
    class Base:
        factor = 2
        gain = 7
        def scale(self, x): return x * self.factor
        def process(self, x): return self.scale(x)
    class A(Base):
        pass
    class B(Base):
        factor = 3
        def process(self, x): return super().process(x) + self.size + self.make(x) + self.plain(x) + self.cached
        @property
        def size(self): return 10
        @classmethod
        def make(cls, x): return cls.gain
        @staticmethod
        def plain(x): return helper(x.factor)
        @functools.cached_property
        def cached(self): return 20
    class C(Base):
        def scale(self, x): return x
        def unused(self, x): return 30
    class D(B):
        def process(self, x):
            run = lambda y: self.hidden(y) + type(self).gain + self.__private(x)
            return run(x)
        def hidden(self, x): return 40
        def __private(self, x): return 50
"""
change("a method of a task", TASKS, ("x * self.factor", "x / self.factor"), stale="AB")
change(
    "a method that is overridden",
    TASKS,
    ("def scale(self, x): return x\n", "def scale(self, x): return -x\n"),
    stale="C",
)
change("an attribute of a task's base", TASKS, ("factor = 2", "factor = 4"), stale="A")
change("an attribute of a task", TASKS, ("factor = 3", "factor = 4"), stale="B")
change("a method behind super()", TASKS, ("return self.scale(x)\n", "return self.scale(x) + 1\n"), stale="ABC")
change("a property of a task", TASKS, ("return 10", "return 11"), stale="B")
change("an attribute that a classmethod of a task reads", TASKS, ("gain = 7", "gain = 8"), stale="BD")
change("what a staticmethod of a task calls", TASKS, ("return 1\n", "return 2\n"), stale="B")
change("a cached property of a task", TASKS, ("return 20", "return 21"), stale="B")
change("a method of a task that nothing calls", TASKS, ("return 30", "return 31"))
change("a method that a lambda calls", TASKS, ("return 40", "return 41"), stale="D")
change("a private method of a task", TASKS, ("return 50", "return 51"), stale="D")
change(
    "a method of a task is overridden",
    TASKS,
    ("class A(Base):\n    pass", "class A(Base):\n    def scale(self, x): return 0"),
    stale="A",
)
change(
    "a decorated method of a task",
    """
    def twice(g):
        def wrapper(self, x): return g(self, g(self, x))
        return wrapper
    class A:
        n = 1
        @twice
        def process(self, x): return self.n + self.h(x)
        @twice
        def h(self, x): return 2
    class B:
        n = 1
        def process(self, x): return x
    """,
    ("n = 1\n    @twice", "n = 3\n    @twice"),
    stale="A",
)
change(
    "a class beside a task, by its name",
    """
    class Base:
        limit = 1
        def process(self, x): return Base.limit
    class A(Base):
        limit = 5
    class B:
        def process(self, x): return Base.limit
    class C:
        def process(self, x): return x
    """,
    ("limit = 1", "limit = 2"),
    stale="AB",
)
change(
    "a parameter of a task",
    """
    import luigi
    class A(luigi.Task):
        size = luigi.IntParameter(default=1)
        n = 5
        def process(self, x): return self.size + self.n
    """,
    ("default=1", "default=2"),
)

# -- what does not count ----------------------------------------------------------------------------------------------

QUIET = '''
    """A module."""
    import os
    LIMIT = 1
    OTHER = 2
    def unrelated(x): return OTHER
    def h(x: int, y: "list[int]" = None) -> int:
        """Help."""
        total: int = x + LIMIT
        def inner(z: os.PathLike) -> None: return z
        return total
    class H:
        """Hold."""
        def f(self, x: int) -> int:
            return x
    def a(x: int) -> int: return h(x)
    def b(x): return H().f(x)
'''
change("comments", QUIET, ("LIMIT = 1", "LIMIT = 1  # one"), ("return total", "# the sum\n    return total  # yes"))
change("docstrings", QUIET, ("Help.", "Helps.\n\n    A lot.\n    "), ("Hold.", "Holds."), ("A module.", "The module."))
change("a docstring is taken away", QUIET, ('    """Help."""\n', ""), ('    """Hold."""\n', ""))
change("lines that move", QUIET, ("LIMIT = 1", "\n\n\nLIMIT = 1\n\n"), ("def b", "\n\n\ndef b"))
change("the order of definitions", QUIET, ("LIMIT = 1\n", ""), ("def b", "LIMIT = 1\ndef b"))
change("layout", QUIET, ("x + LIMIT", "(x\n        + LIMIT\n    )"), ("return h(x)", "\n    return (h (x))"))
change(
    "annotations of functions",
    QUIET,
    ("x: int", "x: float"),
    ("-> int", "-> float"),
    ("z: os.PathLike", "z"),
    ("total: int", "total: H"),
)
change("a function that is not reached", QUIET, ("return OTHER", "return -OTHER"))
change("a constant that is not reached", QUIET, ("OTHER = 2", "OTHER = 3"))
change("a new function", QUIET, ("def b", "def c_new(x): return 1\ndef b"))
change("an import that nobody uses", QUIET, ("import os", "import os\nimport json"))
