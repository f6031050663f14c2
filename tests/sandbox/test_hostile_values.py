"""Programs that say at random what no program says: whatever values they make up, none is what the tests want."""

import random

import pytest

# Takes the place of what writes values; from its first call on, all of them are made up.
PROGRAM = """\
import random, sys
side = sys.modules["lm_eval_codd.sandbox.program_side"]
rng = random.Random({seed})
BUILTINS = ["eval", "exec", "open", "globals", "vars", "iter", "type", "print", "int", "list", "dict", "set", "max"]
ERRORS = ["AssertionError", "SystemExit", "KeyError", "StopIteration", "UnicodeDecodeError", "ExceptionGroup"]
SEQUENCES = ["list", "tuple", "set", "frozenset", "deque"]
MAPPINGS = ["dict", "OrderedDict", "defaultdict", "Counter"]
PLAIN = [None, True, False, 0, 1, -1, 0.5, float("nan"), float("inf"), "", "x", "passed", 1 << 61, chr(0xD800)]
GARBAGE = [{{}}, [], ["x"], ["node", 99], ["named", "print_"], ["made", "eval", ["1"]], ["int", 3], ["object", "x"]]
number = lambda: rng.randrange(-9, 9)

def key():
    return rng.choice([*PLAIN, ["int", hex(rng.getrandbits(80))], ["made", "range", [number(), number(), 1]]])

def atom():
    if rng.random() < 0.3:
        return rng.choice(PLAIN)
    if rng.random() < 0.01:
        return rng.choice(GARBAGE)
    return rng.choice([
        lambda: ["node", rng.randrange(8)],
        lambda: ["int", hex(rng.getrandbits(rng.choice([8, 64, 4096])))],
        lambda: ["complex", number(), number()],
        lambda: ["bytes", "eHh4"],
        lambda: ["made", "range", [number(), number(), rng.choice([1, -1, 3])]],
        lambda: ["made", "Decimal", [rng.choice(["nan", "sNaN", "1e99", "-0"])]],
        lambda: ["made", "Fraction", [number(), 7]],
        lambda: ["made", "date", [2000, 1, 1 + number() % 9]],
        lambda: ["named", rng.choice(BUILTINS)],
        lambda: ["object", rng.randrange(5)],
        lambda: ["module", 0, rng.choice(["os", "sys", "abc", "builtins", "gc", "this"])],
        lambda: ["exception", rng.randrange(3), rng.choice(ERRORS), rng.choice(ERRORS)],
        lambda: ["extended", 0, "int", number()],
        lambda: ["extended", 0, "str", rng.choice(["", "x"])],
    ])()

def node():
    kind = rng.choice(SEQUENCES + MAPPINGS)
    size = range(rng.randrange(4))
    if kind in MAPPINGS:
        return [kind, [[key(), atom()] for _ in size], rng.choice([None, ["named", "list"], ["object", 1]])]
    # Tuples and sets are whole before anybody holds them.
    return [kind, [key() if kind != "list" and kind != "deque" else atom() for _ in size], None]

class Hostile:
    def __init__(self, refer, known=()):
        self.known = [[type(container).__name__, [], None] for container in known]
    def value(self, root):
        return [atom(), [*self.known, *(node() for _ in range(6))]]

def f(x):
    side.Encoder = Hostile
    return x
"""
TESTS = """\
uses = [bool, len, str, repr, hash, list, sorted, int, float, lambda v: wanted in v, lambda v: v[0], lambda v: v(1)]
uses += [lambda v: v.x, lambda v: v + 0, lambda v: max(v), lambda v: next(iter(v))]
wanted = {wanted}
for number in range(30):
    value = f(number)
    for use in [lambda v: v, lambda v: [v][0], *uses]:
        try: found = use(value)
        except Exception: continue
        try:
            if found == wanted or [found] == [wanted] or (found is True and use is uses[9]): forged = True
            else: forged = False
        except Exception: forged = False
        if forged: raise SystemExit("forged")
raise ValueError("to the end")
"""


@pytest.mark.parametrize("block", range(4))
def test_made_up_values_are_never_the_wanted_one(evaluation, times, block):
    for number in range(times(4, 1000)):
        seed = 1000 * block + number
        tests = TESTS.format(wanted=random.Random(f"tests {seed}").getrandbits(60))
        status, detail = evaluation.run(PROGRAM.format(seed=seed), tests, timeout=2.0, memory_mb=1024)
        assert status != "passed"
        assert "forged" not in detail, seed
