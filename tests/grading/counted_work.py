"""How much work a grader does on a text, counted and not timed: characters that are looked at or copied.

`counted` runs the source of `lm_eval_codd.grading` with every call of a string's method, every loop, slice and text
that is put together replaced by one that counts, and every regular expression by `Expression`, which backtracks step
by step as Python's own does and finds the same.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import types

try:
    from re import _compiler as compiler
    from re import _parser as parser
except ImportError:  # Python 3.10
    import sre_compile as compiler
    import sre_parse as parser

PACKAGE = "lm_eval_codd.grading"
SEARCHES = ("find", "index", "rfind", "rindex")
PREFIXES = ("startswith", "endswith", "isalpha", "isdecimal", "isdigit")


class Counter:
    def __init__(self):
        self.work = 0

    def call(self, owner, name, *given, **named):
        result = getattr(owner, name)(*given, **named)
        if isinstance(owner, str):
            self.work += 1 + self._cost(owner, name, given, result)
        return result

    def _cost(self, text, name, given, result):
        if name in PREFIXES:
            return 0
        if name == "join":
            return len(result)
        if name not in SEARCHES:
            return len(text)
        start, end, _ = slice(*given[1:3] if len(given) > 2 else (*given[1:], None)).indices(len(text))
        if result < 0:
            return max(end - start, 0)
        return end - result if name.startswith("r") else result - start

    def copied(self, value):
        self.work += len(value) if isinstance(value, str) else 1
        return value

    def looped(self, values):
        for value in values:
            self.work += 1
            yield value


class Counting(ast.NodeTransformer):
    """Hands calls of methods, loops, slices, sums and f-strings to a counter."""

    def visit_Call(self, node):
        self.generic_visit(node)
        if not isinstance(node.func, ast.Attribute):
            return node
        given = [node.func.value, ast.Constant(node.func.attr), *node.args]
        return _handed("call", given, node.keywords)

    def visit_For(self, node):
        self.generic_visit(node)
        node.iter = _handed("looped", [node.iter])
        return node

    def visit_comprehension(self, node):
        self.generic_visit(node)
        node.iter = _handed("looped", [node.iter])
        return node

    def visit_Subscript(self, node):
        self.generic_visit(node)
        return _handed("copied", [node]) if isinstance(node.ctx, ast.Load) else node

    def visit_BinOp(self, node):
        self.generic_visit(node)
        return _handed("copied", [node])

    def visit_JoinedStr(self, node):
        self.generic_visit(node)
        return _handed("copied", [node])

    def visit_FormattedValue(self, node):
        node.value = self.visit(node.value)
        return node

    def visit_AnnAssign(self, node):
        node.value = node.value and self.visit(node.value)
        return node

    def visit_arg(self, node):
        return node

    def visit_FunctionDef(self, node):
        node.body = [self.visit(one) for one in node.body]
        return node


def _handed(name, given, keywords=()):
    counter = ast.Attribute(ast.Name("counter__", ast.Load()), name, ast.Load())
    return ast.Call(counter, given, list(keywords))


def counted(names):
    """By name, modules of `lm_eval_codd.grading` that count, and their counter."""
    counter, made = Counter(), {}

    def load(name):
        if name not in made:
            path = importlib.util.find_spec(f"{PACKAGE}.{name}").origin
            with open(path, encoding="utf-8") as source:
                tree = ast.fix_missing_locations(Counting().visit(ast.parse(source.read())))
            module = made[name] = types.ModuleType(f"counted.{name}")
            module.__dict__.update(counter__=counter, __builtins__={**vars(__import__("builtins")), "__import__": own})
            exec(compile(tree, path, "exec"), module.__dict__)
        return made[name]

    def own(name, globals=None, locals=None, fromlist=(), level=0):
        if name == "re":
            return expressions
        if name.startswith(f"{PACKAGE}."):
            return load(name.removeprefix(f"{PACKAGE}."))
        return __import__(name, globals, locals, fromlist, level)

    expressions = _expressions(counter)
    return {name: load(name) for name in names}, counter


def _expressions(counter):
    """What stands for the module `re`."""
    module = types.ModuleType("re")
    module.__dict__.update({name: getattr(re, name) for name in ("DOTALL", "IGNORECASE", "MULTILINE", "escape")})
    module.Pattern, module.Match = Expression, Found
    module.compile = functools.cache(lambda pattern, flags=0: Expression(pattern, flags, counter))
    for name in ("search", "match", "fullmatch", "findall", "finditer", "sub", "split"):
        setattr(module, name, lambda pattern, *given, of=name: getattr(module.compile(pattern), of)(*given))
    return module


class Found:
    """A match that was found step by step; all it says comes from Python's own."""

    def __init__(self, match):
        self._match = match

    def __getattr__(self, name):
        return getattr(self._match, name)


class Expression:
    """A regular expression that counts the steps of its search.

    Where it ends is worked out by backtracking here; what groups hold is asked of Python's own, which must agree.
    """

    def __init__(self, pattern, flags, counter):
        self._real, self._counter = re.compile(pattern, flags), counter
        tree = parser.parse(pattern, flags)
        self._state = tree.state
        self._flags = self._real.flags & ~re.UNICODE.value
        self._run = self._sequence(list(tree), self._flags)
        self._can_start = self._first(list(tree), self._flags)

    def search(self, text, start=0):
        for begin in range(start, len(text) + 1):
            self._counter.work += 1
            if self._can_start and (begin == len(text) or not self._can_start(text[begin])):
                continue
            if (end := self._end(text, begin)) is not None:
                return self._agreed(self._real.search(text, start), begin, end)
        return self._agreed(self._real.search(text, start), None, None)

    def match(self, text, start=0):
        end = self._end(text, start)
        return self._agreed(self._real.match(text, start), None if end is None else start, end)

    def fullmatch(self, text):
        end = self._end(text, 0, whole=True)
        return self._agreed(self._real.fullmatch(text), None if end is None else 0, end)

    def finditer(self, text, start=0):
        place, last = start, None
        while place <= len(text) and (found := self.search(text, place)) is not None:
            if found.end() == found.start() == last:
                place += 1  # an empty one where another ended is found again, and is none
                continue
            yield found
            place = last = found.end()
            if found.end() == found.start():
                place += 1

    def findall(self, text):
        for _ in self.finditer(text):
            pass
        return self._real.findall(text)

    def sub(self, change, text):
        for _ in self.finditer(text):
            pass
        self._counter.work += len(text)
        return self._real.sub(change, text)

    def split(self, text):
        self.sub("", text)
        return self._real.split(text)

    def _agreed(self, match, begin, end):
        assert (match and match.span()) == (None if end is None else (begin, end)), (self._real, match)
        return match and Found(match)

    def _end(self, text, begin, *, whole=False):
        ends = []

        def done(place):
            if whole and place != len(text):
                return False
            ends.append(place)
            return True

        return ends[0] if self._run(text, begin, done) else None

    def _sequence(self, nodes, flags):
        steps = [self._step(*node, flags) for node in nodes]

        def run(text, place, after, number=0):
            if number == len(steps):
                return after(place)
            return steps[number](text, place, lambda there: run(text, there, after, number + 1))

        return run

    def _step(self, code, given, flags):
        kind = str(code)
        if kind in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
            return self._character(self._accepts(code, given, flags))
        if kind == "AT":
            return self._place(code, given, flags)
        if kind == "BRANCH":
            ways = [self._sequence(list(way), flags) for way in given[1]]
            return lambda text, place, after: any(way(text, place, after) for way in ways)
        if kind == "SUBPATTERN":
            _, added, removed, inside = given
            return self._sequence(list(inside), (flags | added) & ~removed)
        if kind in ("ASSERT", "ASSERT_NOT"):
            direction, inside = given
            return self._look(self._sequence(list(inside), flags), direction, wanted=kind == "ASSERT")
        if kind in ("MAX_REPEAT", "MIN_REPEAT"):
            least, most, inside = given
            return self._repeat(list(inside), int(least), int(most), flags, is_greedy=kind == "MAX_REPEAT")
        raise NotImplementedError(kind)

    def _compiled(self, code, given, flags):
        return compiler.compile(parser.SubPattern(self._state, [(code, given)]), flags | re.UNICODE.value)

    def _accepts(self, code, given, flags):
        expression, known = self._compiled(code, given, flags), {}

        def accepts(letter):
            if letter not in known:
                known[letter] = expression.match(letter) is not None
            return known[letter]

        return accepts

    def _character(self, accepts):
        def step(text, place, after):
            self._counter.work += 1
            return place < len(text) and accepts(text[place]) and after(place + 1)

        return step

    def _place(self, code, given, flags):
        expression = self._compiled(code, given, flags)

        def step(text, place, after):
            self._counter.work += 1
            return expression.match(text, place) is not None and after(place)

        return step

    def _look(self, run, direction, *, wanted):
        def step(text, place, after):
            there = place if direction > 0 else place - 1  # what is looked back at is one character here
            found = there >= 0 and run(text, there, lambda end: direction > 0 or end == place)
            return found == wanted and after(place)

        return step

    def _repeat(self, nodes, least, most, flags, *, is_greedy):
        if len(nodes) == 1 and str(nodes[0][0]) in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
            return self._run_of(self._accepts(*nodes[0], flags), least, most, is_greedy=is_greedy)
        inside = self._sequence(nodes, flags)

        def step(text, place, after, number=0):
            def again():
                return number < most and inside(
                    text, place, lambda there: there > place and step(text, there, after, number + 1)
                )

            self._counter.work += 1
            if number < least:
                return again()
            return (again() or after(place)) if is_greedy else (after(place) or again())

        return step

    def _run_of(self, accepts, least, most, *, is_greedy):
        def step(text, place, after):
            end, last = place, min(len(text), place + most)
            if is_greedy:
                while end < last and accepts(text[end]):
                    end += 1
                self._counter.work += end - place + 1
                for there in range(end, place + least - 1, -1):
                    self._counter.work += 1
                    if after(there):
                        return True
                return False
            while True:
                self._counter.work += 1
                if end - place >= least and after(end):
                    return True
                if end >= last or not accepts(text[end]):
                    return False
                end += 1

        return step

    def _first(self, nodes, flags):
        """Whether a match may begin with a character; None where that is not told by the first part."""
        kind, given = (str(nodes[0][0]), nodes[0][1]) if nodes else ("", None)
        if kind in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
            return self._accepts(*nodes[0], flags)
        if kind == "SUBPATTERN":
            return self._first(list(given[3]), (flags | given[1]) & ~given[2])
        if kind in ("MAX_REPEAT", "MIN_REPEAT") and given[0] > 0:
            return self._first(list(given[2]), flags)
        return None
