"""The verdict is the tests' process's: what values the program gives is all that it can say."""

import textwrap

import pytest

from lm_eval_codd.sandbox import Outcome, run_program

NODE = """\
class Node:
    made = 0
    def __init__(self, value): self.value, self.left = value, None
    def __len__(self): return 2
    def __getitem__(self, key): return self.items[key]
    def __setitem__(self, key, item): self.items = {key: item}
    def __contains__(self, item): return True
    def __eq__(self, other): return True
    def __lt__(self, other): return True
    __gt__ = __le__ = __ge__ = __lt__
    def __hash__(self): return 1
    def __bool__(self): return False
    def __str__(self): return "node"
    def __iter__(self): return iter((1, 2))
    def double(self, *, by=2): return self.value * by
class Leaf(Node):
    pass
"""


def passes(code, tests):
    return run_program(textwrap.dedent(code), textwrap.dedent(tests), timeout=20) == Outcome("passed")


class TestValues:
    @pytest.mark.parametrize(
        "value",
        [
            *("None", "True", "-7", "10**400", "-(2**63)", "1e-300", "float('-inf')", "1j", "'a\\n\\0\\ud800é'"),
            *(
                "b'\\xff'",
                "bytearray(b'a')",
                "[]",
                "[1, [2.5, 'x']]",
                "(1, (2,), [])",
                "{1, (2, 3)}",
                "frozenset('ab')",
            ),
            *("{'a': [1], (1, 2): {}}", "range(2, 9, 3)", "slice(1, None)", "...", "int", "len"),
            *("Decimal('1.10')", "Fraction(1, 3)", "date(2024, 2, 29)", "datetime(2024, 2, 29, 1, 2, 3, 4)"),
            *("timedelta(days=-1, microseconds=3)", "OrderedDict([('b', 1), ('a', 2)])", "Counter('abca')"),
            *("deque([1, 2], maxlen=2)", "[[[[[[[[[[1]]]]]]]]]]"),
        ],
    )
    def test_arrive_as_they_are_both_ways(self, value):
        imports = (
            "from collections import *\nfrom datetime import *\nfrom decimal import Decimal\n"
            "from fractions import Fraction\n"
        )
        code = imports + f"def same(x): return x if x == {value} and type(x) is type({value}) else 'another'"
        tests = f"value = {value}\nassert same(value) == value\nassert type(same(value)) is type(value)"
        assert passes(code, imports + tests)

    def test_nan_and_minus_zero_arrive(self):
        assert passes("def f(): return [float('nan'), -0.0]", "x, y = f()\nassert x != x and str(y) == '-0.0'")

    def test_containers_stay_shared_and_circular(self):
        assert passes(
            "def f():\n  a = []; a.append(a); b = [a, a, (a,)]; return b",
            "b = f()\nassert b[0] is b[1] is b[2][0] is b[0][0]",
        )

    def test_what_a_program_does_to_its_arguments_is_seen(self):
        assert passes(
            """\
            def sort(items, more):
                items.sort(); more["seen"] = items; more["set"].clear()
                return items
            def fail(items): items.append(9); raise ValueError("full")
            """,
            """\
            items, more = [3, 1], {"set": {1}}
            alias = items
            assert sort(items, more) is items and alias == [1, 3]
            assert more == {"set": set(), "seen": [1, 3]} and more["seen"] is items
            try: fail(items)
            except ValueError as error: assert str(error) == "full" and items[-1] == 9
            else: assert False
            """,
        )

    def test_numpy_arrives_as_numpy_and_its_scalars_as_numbers(self):
        pytest.importorskip("numpy")
        assert passes(
            "import numpy as np\ndef f(x): return np.asarray(x) * 2, np.float64(1.5), np.bool_(True)",
            "a, b, c = f([1, 2])\nassert (a == [2, 4]).all() and a.dtype.kind == 'i' and b == 1.5 and c is True",
        )

    def test_data_of_an_own_type_is_data_with_its_attributes(self):
        assert passes(
            """\
            from collections import namedtuple
            Point = namedtuple("Point", "x y")
            class Items(list):
                name = "mine"
            def f(): return Point(1, 2)
            def g(): return Items([1, 2])
            def h(p): return type(p) is Point
            """,
            """\
            assert f() == (1, 2) and f().x == 1 and isinstance(f(), tuple) and h(f())
            assert g() + [3] == [1, 2, 3] and g().name == "mine" and type(g()) is not list
            """,
        )

    def test_named_tuples_of_the_tests_keep_their_names(self):
        assert passes(
            "def total(pair): return pair.left + pair[1] + len(type(pair).__name__)",
            "from collections import namedtuple\nPair = namedtuple('Pair', 'left to')\nassert total(Pair(1, 2)) == 7",
        )

    def test_a_defaultdict_keeps_what_it_fills_in(self):
        assert passes(
            "from collections import defaultdict\ndef f(d): d['x'].append(1); return defaultdict(lambda: 5)",
            "from collections import defaultdict\nd = defaultdict(list)\nassert f(d)[''] == 5 and d == {'x': [1]}",
        )

    def test_an_object_of_the_tests_own_class_cannot_be_given(self):
        detail = run_program("def f(x): pass", "class Own: pass\nf(Own())").detail
        assert detail == "TypeError: tests cannot hand a Own to a program in the sandbox"


class TestObjects:
    def test_of_the_program_are_used_from_afar(self):
        assert passes(
            NODE,
            """\
            a = Node(3)
            a.left = Leaf(4)
            assert a.left.value == 4 and a.double() == 6 and a.double(by=3) == 9 and Node.made == 0
            a["k"] = [1]
            assert a["k"] == [1] and len(a) == 2 and not a and str(a) == f"{a}" == "node" and list(a) == [1, 2]
            assert isinstance(a.left, Node) and isinstance(a.left, Leaf) and not isinstance(a, Leaf)
            assert not isinstance(3, Node) and issubclass(Leaf, Node)
            del a.left
            assert a.made == 0 and not hasattr(a, "left") and callable(a.double)
            assert a == a and a != Node(3) and len({a, a, Node(3)}) == 2
            """,
        )

    def test_iterators_and_generators_are_read_as_far_as_asked(self):
        assert passes(
            "def count():\n  n = 0\n  while True:\n    yield n\n    n += 1",
            "c = count()\nassert next(c) == 0 and [n for n, _ in zip(c, range(2))] == [1, 2]",
        )

    def test_functions_of_the_tests_can_be_given(self):
        assert passes(
            "def apply(f, x): return [f(y) for y in x]\ndef twice(x): return 2 * x",
            "assert apply(lambda y: twice(y) + 1, [1, 2]) == [3, 5] and apply(len, ['ab']) == [2] == apply(twice, [1])",
        )

    def test_exceptions_are_caught_by_their_class(self):
        assert passes(
            """\
            class Full(ValueError): pass
            def f(x):
                if x: raise Full("no room")
                return {}["key"]
            """,
            """\
            for caught, x, text in ((Full, 1, "no room"), (ValueError, 1, "no room"), (KeyError, 0, "'key'")):
                try: f(x)
                except caught as error: assert str(error) == text, str(error)
                else: assert False
            """,
        )

    def test_an_exception_is_told_as_where_it_was_raised(self):
        code = "class Full(ValueError): pass\ndef f(x):\n  if x == 1: raise Full('no')\n  '\\ud800'.encode()"
        assert run_program(code, "f(1)").detail == "Full: no"
        assert run_program(code, "f(2)").detail.startswith("UnicodeEncodeError: 'utf-8' codec can't encode")


class TestNames:
    def test_those_of_the_tests_come_first_and_builtins_stay_builtins(self):
        code = "def f(x): return -x\ndef helper(x): return 5\ndef abs(x): return 0\ndef set(x): return 0\nmath = None"
        tests = "import math\ndef helper(x): return x\nassert abs(f(2)) == helper(2) and set([f(1)]) == {-1}\n"
        tests += "assert math.pi > 3"
        assert passes(code, tests)

    def test_a_function_that_has_a_builtins_name_is_tested_where_nothing_else_is(self):
        assert passes("def sum(a, b): return 6", "assert sum(10, 15) == 6")
        assert not passes("", "assert sum([10, 15]) == 6")

    def test_a_module_that_the_program_imported_is_the_tests_own(self):
        assert passes("import math\nmath.fabs = lambda x: 0", "assert math.fabs(-1) == 1")

    def test_a_name_that_nobody_has_is_an_error(self):
        assert run_program("x = 1", "assert f(1)").detail == "NameError: name 'f' is not defined"


class TestForged:
    SECRET = "assert secret(1) == 'only the tests know'"

    @pytest.mark.parametrize(
        "given",
        [
            "type('E', (), {'__eq__': lambda a, b: True, '__ne__': lambda a, b: False, '__hash__': None})()",
            "type('E', (str,), {'__eq__': lambda a, b: True, '__hash__': str.__hash__})('x')",
            "type('E', (), {'__contains__': lambda a, b: True, '__iter__': lambda a: iter(())})()",
        ],
    )
    @pytest.mark.parametrize("tests", ["secret(1) == 'known'", "'known' == secret(1)", "'known' in [secret(1)]"])
    def test_a_programs_own_comparison_is_not_asked(self, given, tests):
        assert run_program(f"def secret(x): return {given}", f"assert {tests}").status == "failed"

    @pytest.mark.parametrize("tests", ["3 in f()", "3 - f() < 1", "f() - 3 < 1", "abs(f() - 3) < 1e-6"])
    def test_nor_its_arithmetic_order_and_membership(self, tests):
        code = (
            NODE
            + "    def __sub__(self, other): return self\n    __abs__ = __rsub__ = __sub__\ndef f(): return Leaf(1)"
        )
        assert run_program(code, f"assert {tests}").status == "failed"

    @pytest.mark.parametrize(
        "look",
        [
            "def seen():\n  f = sys._getframe()\n  while f: yield f.f_code.co_consts; yield f.f_locals; f = f.f_back",
            "def seen(): yield from gc.get_objects()",
            "def seen(): yield from (r for o in gc.get_objects() for r in gc.get_referents(o))",
        ],
    )
    def test_what_the_tests_want_is_not_in_the_programs_memory(self, look):
        hidden = b"only the tests know".hex()
        code = (
            f"import gc, sys\n{look}\ndef secret(x):\n"
            f"  raise ValueError(sum(bytes.fromhex('{hidden}').decode() in repr(o) for o in seen()))"
        )
        assert run_program(code, self.SECRET, timeout=60).detail == "ValueError: 0"
        # It would be found if it were there.
        assert (
            run_program(f"there = ['only the tests know']\n{code}", self.SECRET, timeout=60).detail != "ValueError: 0"
        )

    @pytest.mark.parametrize(
        "message",
        [
            '{"ran": true}',
            '{"value": [null, []]}',
            '{"ask": "function", "function": 0, "given": [[], []]}',
            "[",
            "1",
            '""',
        ],
    )
    def test_messages_of_its_own_making_are_no_verdict(self, message):
        code = f"import os, struct\nmessage = {message!r}.encode()\n" + textwrap.dedent(
            """\
            def secret(x):
                for fd in range(3, 64):
                    for _ in range(3):
                        try: os.write(fd, struct.pack('!I', len(message)) + message)
                        except OSError: pass
                return None
            """
        )
        assert run_program(code, self.SECRET).status in ("failed", "crashed")

    @pytest.mark.parametrize(
        "value",
        [
            *('["node", 0]', '["node", -1]', '["named", "eval"]', '["named", "__import__"]', '["made", "eval", ["1"]]'),
            *(
                '["object", "x"]',
                '["extended", 0, "bool", 1]',
                '["extended", 0, "list", "x"]',
                '["nothing"]',
                "[]",
                "{}",
            ),
            *('["module", 0, "lm_eval_codd"]', '["exception", 0, "E", "eval"]', '["array", "O", [1]]', '["int", 3]'),
        ],
    )
    def test_a_text_that_is_no_value_builds_nothing(self, value):
        code = (
            "import gc, json\ndef secret(x):\n  link = [o for o in gc.get_objects() if type(o).__name__ == 'Link'][0]\n"
            f"  link.send({{'value': [json.loads({value!r}), []]}})"
        )
        assert run_program(code, self.SECRET).status in ("failed", "crashed")

    @pytest.mark.parametrize("name", ["__array_interface__", "__array__", "__deepcopy__", "__class_getitem__"])
    def test_no_protocol_is_carried_out_for_its_objects(self, name):
        code = f"class Own: pass\ndef secret(x): setattr(Own, {name!r}, 1); return Own()"
        assert run_program(code, f"secret(1).{name}").detail == f"AttributeError: {name}"

    def test_a_program_that_leaves_in_the_middle_of_its_tests_crashed(self):
        outcome = run_program("import os\ndef f(x): os._exit(0)", "try: f(1)\nexcept BaseException: pass")
        assert outcome == Outcome("crashed", "exit status 0 before the tests had run")
