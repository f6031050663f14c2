"""Tells lm-eval about this package's models as soon as lm-eval loads its own.

The installed `lm_eval_codd.pth` (`lm_eval_codd.start` from Python 3.15 on) calls `install()` at every start of the
interpreter, because released lm-eval looks for no plugins. So this module imports nothing but `sys`, and nothing of
lm-eval or of this package is imported before lm-eval itself is.
"""

import sys

_HOST = "lm_eval.models"


class _AfterHost:
    """Finds `lm_eval.models` the usual way, and adds our names once that module has run.

    Not earlier: lm-eval registers its own models only into an empty registry.
    """

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != _HOST:
            return None
        for finder in sys.meta_path:
            spec = None if finder is cls else finder.find_spec(name, path, target)
            if spec is not None:
                _register_after(spec.loader)
                return spec
        return None


def install():
    """Watch for lm-eval's models. Does nothing the second time."""
    if _AfterHost not in sys.meta_path:
        sys.meta_path.insert(0, _AfterHost)


def _register_after(loader):
    run = loader.exec_module

    def exec_module(module):
        run(module)
        try:
            from lm_eval_codd.registration import register
        except ImportError:
            return  # a half-removed installation: lm-eval must work without us
        register()

    loader.exec_module = exec_module
