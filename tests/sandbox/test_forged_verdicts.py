"""Wrong programs that want to be taken for right ones: whatever they do, they are not passed."""

import pytest

WRITE_EVERYWHERE = """\
import os
def write_everywhere(message):
    for fd in range(1024):
        try: os.write(fd, message)
        except OSError: pass
"""
# Looks among values for a secret that reports success, and says it.
REPORT = (
    WRITE_EVERYWHERE
    + """
import re
def report(values):
    texts = {v.decode("latin1") if isinstance(v, bytes) else v for v in values if isinstance(v, (bytes, str))}
    for text in texts:
        if re.fullmatch("[0-9a-f]{16,128}", text):
            write_everywhere(text.encode() + b" passed \\n")
"""
)
# The functions that tests ask for, all wrong.
WRONG = "\ndef f(*args): return -1\n"

LEAVING = {
    "sys.exit": "import sys; sys.exit(0)",
    "os._exit": "import os; os._exit(0)",
    "SystemExit": "raise SystemExit(0)",
    "os._exit when asked": "import os\ndef f(*args): os._exit(0)",
    "sys.exit when asked": "import sys\ndef f(*args): sys.exit(0)",
    "a signal": "import signal; signal.raise_signal(signal.SIGKILL)",
    "abort": "import os; os.abort()",
    "a crash": "import ctypes; ctypes.string_at(0)",
    "exit of C": "import ctypes; ctypes.CDLL(None).exit(0)",
    "atexit": "import atexit, os; atexit.register(os._exit, 0)" + WRONG,
    "__del__": "import os\nclass A:\n    def __del__(self): os._exit(0)\na = A(); del a" + WRONG,
    "__del__ at the end": "import os\nclass A:\n    def __del__(self): os._exit(0)\na = A()" + WRONG,
    "a thread": "import os, threading, time\n"
    "threading.Thread(target=lambda: (time.sleep(0.05), os._exit(0)), daemon=True).start()\n"
    "def f(*args): time.sleep(1)",
    "a thread that is not waited for": "import threading, time\n"
    "threading.Thread(target=time.sleep, args=(60,)).start()" + WRONG,
    "an alarm": "import os, signal\nsignal.signal(signal.SIGALRM, lambda *_: os._exit(0))\nsignal.alarm(1)\n"
    "def f(*args):\n    while True: pass",
    "an error that leaves": "import os\nclass E(Exception):\n    def __str__(self): os._exit(0)\ndef f(*args): raise E",
    "an audit hook": "import os, sys\nsys.addaudithook(lambda e, a: os._exit(0) if e in ('exec', 'compile') else None)"
    + WRONG,
}
SAYING = {
    "print": "print('passed')\nprint('{\"status\": \"passed\"}', flush=True)\nimport os; os._exit(0)",
    "print to errors": "import os, sys\nprint('passed', file=sys.stderr, flush=True); os._exit(0)",
    "every descriptor": WRITE_EVERYWHERE + "write_everywhere(b'passed \\n'); os._exit(0)",
    "every descriptor, as JSON": WRITE_EVERYWHERE
    + 'write_everywhere(b\'{"status": "passed", "detail": ""}\\n\'); os._exit(0)',
    "every descriptor, when asked": WRITE_EVERYWHERE
    + 'def f(*args): write_everywhere(b\'{"status": "passed", "detail": ""}\\n\'); os._exit(0)',
    "every descriptor, and waits": WRITE_EVERYWHERE
    + "import time\nfor _ in range(20): write_everywhere(b'passed\\n' * 10); time.sleep(0.01)"
    + WRONG,
    "a flood": WRITE_EVERYWHERE + "while True: write_everywhere(b'x' * 4096)",
}
PATCHING = {
    "builtins": "import builtins, os\n"
    "for n in ('exec', 'compile', 'isinstance', 'all', 'eval', 'repr', 'bool', 'type'):\n"
    "    setattr(builtins, n, lambda *a, **k: None)" + WRONG,
    "AssertionError": "import builtins\nclass A(BaseException):\n    def __init__(self, *a): import os; os._exit(0)\n"
    "builtins.AssertionError = A" + WRONG,
    "AssertionError in the namespace": "AssertionError = print" + WRONG,
    "__builtins__": "__builtins__ = {'AssertionError': SystemExit}" + WRONG,
    "__debug__": "import sys, types\nsys.flags = types.SimpleNamespace(optimize=2)" + WRONG,
    "sys.exit and os._exit": "import os, sys\nsys.exit = os._exit = lambda *a: None" + WRONG,
    "sys.excepthook": "import os, sys\nsys.excepthook = sys.unraisablehook = lambda *a: os._exit(0)" + WRONG,
    "json, pickle, marshal": "import json, marshal, pickle\n"
    "for m in (json, marshal, pickle):\n    m.loads = m.dumps = m.load = m.dump = lambda *a, **k: 'passed'" + WRONG,
    "os.write": "import os\nwrite = os.write\n"
    "os.write = lambda fd, data: write(fd, data.replace(b'failed', b'passed'))" + WRONG,
    "operators": "import operator\nfor n in dir(operator):\n"
    "    try: setattr(operator, n, lambda *a: True)\n    except Exception: pass" + WRONG,
    "every module": "import sys\nfor m in list(sys.modules.values()):\n    for n in list(vars(m)):\n"
    "        if callable(vars(m)[n]) and not n.startswith('__'):\n"
    "            try: setattr(m, n, lambda *a, **k: True)\n            except Exception: pass" + WRONG,
    "sys.modules": "import sys\nclass M:\n    def __getattr__(self, n): return lambda *a, **k: True\n"
    "for n in list(sys.modules): sys.modules[n] = M()" + WRONG,
    "__import__": "import builtins\nclass M:\n    def __getattr__(self, n): return lambda *a, **k: True\n"
    "builtins.__import__ = lambda *a, **k: M()" + WRONG,
    "__build_class__": "import builtins\nbuiltins.__build_class__ = lambda *a, **k: None" + WRONG,
}
EQUALITY = {
    "__eq__": "class A:\n    def __eq__(self, o): return True\n    __hash__ = None\ndef f(*args): return A()",
    "__eq__ of a number": "class A(int):\n    def __eq__(self, o): return True\n    def __hash__(self): return 7\n"
    "    def __ne__(self, o): return False\ndef f(*args): return A(-1)",
    "__eq__ of text": "class A(str):\n    def __eq__(self, o): return True\n    def __hash__(self): return 7\n"
    "def f(*args): return A('x')",
    "__eq__ of a list": "class A(list):\n    def __eq__(self, o): return True\ndef f(*args): return A()",
    "a list of such": "class A(int):\n    def __eq__(self, o): return True\ndef f(*args): return [A(1), A(2)]",
    "__class__": "class A:\n    __class__ = int\n    def __eq__(self, o): return True\ndef f(*args): return A()",
    "a metaclass": "class M(type):\n    def __eq__(self, o): return True\n    def __hash__(self): return 1\n"
    "class A(metaclass=M): pass\ndef f(*args): return A",
    "__bool__ of a comparison": "class T:\n    def __bool__(self): return True\nclass A:\n"
    "    def __eq__(self, o): return T()\ndef f(*args): return A()",
    "ANY": "from unittest.mock import ANY\ndef f(*args): return ANY",
    "a mock": "from unittest.mock import MagicMock\nf = MagicMock()\nf.return_value.__eq__ = lambda s, o: True",
    "__getattr__ of the function": "class F:\n    def __call__(self, *a): return self\n"
    "    def __eq__(self, o): return True\nf = F()",
    "changes its arguments": "def f(*args):\n    for a in args:\n"
    "        if isinstance(a, list): a[:] = [7]\n    return 8",
}
LOOKING = {
    "sys.settrace": "import sys\ndef t(frame, event, arg):\n    try: frame.f_lineno += 1\n    except Exception: pass\n"
    "    return t\nsys.settrace(t)" + WRONG,
    "sys.setprofile": "import sys, os\nsys.setprofile(lambda f, e, a: os._exit(0) if e == 'return' else None)" + WRONG,
    "threading.settrace": "import sys, threading\nthreading.settrace(lambda *a: None)\n"
    "f_ = sys._getframe()\nwhile f_:\n    f_.f_trace = lambda *a: sys.exit(0); f_ = f_.f_back" + WRONG,
    "frames": REPORT + "import sys\nframe, found = sys._getframe(), []\nwhile frame:\n"
    "    found += [*frame.f_locals.values(), *frame.f_globals.values()]; frame = frame.f_back\n"
    "report(found)" + WRONG,
    "frames, replaced": "import sys\nframe = sys._getframe()\nwhile frame:\n    for n in list(frame.f_globals):\n"
    "        if callable(frame.f_globals[n]) and n not in ('f', 'sys'):\n"
    "            frame.f_globals[n] = lambda *a, **k: 'passed'\n    frame = frame.f_back" + WRONG,
    "traceback frames": REPORT
    + "found = []\ntry: 1 / 0\nexcept Exception as e:\n    frame = e.__traceback__.tb_frame\n"
    "    while frame:\n        found += frame.f_locals.values(); frame = frame.f_back\n"
    "report(found)" + WRONG,
    "a generator's frame": REPORT
    + "def g():\n    yield g.it.gi_frame.f_back\ng.it = g()\nframe, found = next(g.it), []\n"
    "while frame:\n    found += frame.f_locals.values(); frame = frame.f_back\n"
    "report(found)" + WRONG,
    "frames when asked": REPORT
    + "import sys\ndef f(*args):\n    frame, found = sys._getframe(), []\n    while frame:\n"
    "        found += frame.f_locals.values(); frame = frame.f_back\n"
    "    report(found)\n    return -1",
    "gc": REPORT + "import gc\nfound = []\nfor o in gc.get_objects():\n    if type(o) is dict:\n"
    "        found += [v for v in o.values() if isinstance(v, (bytes, str))]\nreport(found)" + WRONG,
    "gc, referrers": "import gc\nfor o in gc.get_objects():\n"
    "    if type(o) is dict and 'tests' in o: o['tests'] = ''\n"
    "    if type(o) is dict and 'status' in o: o['status'] = 'passed'" + WRONG,
    "code objects": "import gc, types\nfor o in gc.get_objects():\n"
    "    if type(o) is types.FunctionType and o.__name__ not in ('f',):\n"
    "        try: o.__code__ = (lambda *a, **k: 'passed').__code__\n        except Exception: pass" + WRONG,
    "inspect": REPORT + "import inspect\nreport(v for s in inspect.stack() for v in s.frame.f_locals.values())" + WRONG,
    "/proc/self/mem": REPORT + "import re\nfound = set()\nfor line in open('/proc/self/maps'):\n"
    "    if 'rw-p' in line and len(found) < 300:\n"
    "        a, b = (int(x, 16) for x in line.split()[0].split('-'))\n"
    "        with open('/proc/self/mem', 'rb', 0) as m:\n            m.seek(a)\n"
    "            found |= set(re.findall(rb'[0-9a-f]{32}', m.read(min(b - a, 1 << 22))))\nreport(found)" + WRONG,
    "/proc/self/mem, written": "with open('/proc/self/mem', 'r+b', 0) as m:\n    m.seek(id(1) + 24); m.write(b'\\7')"
    + WRONG,
    "ctypes": "import ctypes\n"
    "for n in (-1, 0): ctypes.c_uint32.from_address(id(n) + 24).value = 7\n"
    "ctypes.c_ssize_t.from_address(id(-1) + 16).value = 8" + WRONG,
    "ctypes, False": "import ctypes\nctypes.memmove(id(False), id(True), 32)" + WRONG,
    "ctypes, comparisons": "import ctypes\n"
    "slots = (ctypes.c_void_p * 60).from_address(id(int))\n"
    "T = ctypes.CFUNCTYPE(ctypes.py_object, ctypes.py_object, ctypes.py_object, ctypes.c_int)\n"
    "always = T(lambda a, b, op: True)\n"
    "slots[25] = ctypes.cast(always, ctypes.c_void_p).value" + WRONG,
    "the source of the tests": REPORT + "import linecache, inspect, glob, os\nfound = []\n"
    "for p in glob.glob('*') + glob.glob('/proc/self/fd/*') + glob.glob('/proc/self/task/*/*'):\n"
    "    try: found.append(open(p, 'rb').read(1000))\n    except Exception: pass\nreport(found)" + WRONG,
    "sys.argv and stdin": REPORT + "import sys\nreport([*sys.argv, sys.stdin.read()])" + WRONG,
    "descriptors": "import os\nfor fd in range(3, 64):\n    try: print(os.read(fd, 1))\n    except OSError: pass"
    + WRONG,
    "descriptors, closed": "import os\nos.closerange(0, 64)" + WRONG,
    "descriptors, swapped": "import os\nfor a in range(3, 16):\n    for b in range(3, 16):\n"
    "        try: os.dup2(a, b)\n        except OSError: pass" + WRONG,
}
BY_KIND = {"leaving": LEAVING, "saying": SAYING, "patching": PATCHING, "equality": EQUALITY, "looking": LOOKING}
ALL = {f"{kind}: {name}": code for kind, programs in BY_KIND.items() for name, code in programs.items()}
TESTS = "assert f([1, 2]) == 7\nassert f([3]) == 8, 'not 8'"


@pytest.mark.parametrize("attack", ALL)
def test_a_wrong_program_is_not_passed(evaluation, attack):
    assert evaluation.run(ALL[attack], TESTS, timeout=4.0)[0] != "passed"


def test_a_right_one_is(evaluation):
    code = "def f(numbers):\n    return 7 if numbers == [1, 2] else 8"
    assert evaluation.run(code, TESTS) == ("passed", "")


@pytest.mark.parametrize("loop", ["map(right, [1, 2])", "filter(right, [1, 2])", "(right(x) for x in [1, 2])"])
def test_a_loop_of_the_tests_is_not_ended_by_what_the_program_raises(evaluation, loop):
    tests = f"def right(x): return f(x) == x + 1\nassert all({loop})"
    assert evaluation.run("def f(x): raise StopIteration", tests)[0] == "failed"
    assert evaluation.run("class E(StopIteration): pass\ndef f(x): raise E", tests)[0] == "failed"


def test_an_iterator_of_the_program_ends(evaluation):
    code = "class I:\n    def __iter__(self): return iter([1, 2])\ndef f(): return I()"
    assert evaluation.run(code, "assert list(f()) == [1, 2] and next(iter([]), 7) == 7") == ("passed", "")
    tests = "i = f()\nassert next(i) == 1\ntry:\n    next(i)\n    assert 0\nexcept StopIteration: pass"
    assert evaluation.run("def f():\n    yield 1", tests) == ("passed", "")
