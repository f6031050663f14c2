"""Tells lm-eval about this package's models and tasks as soon as lm-eval loads its own.

The installed `lm_eval_codd.pth` (`lm_eval_codd.start` from Python 3.15 on) calls `install()` at every start of the
interpreter, because released lm-eval looks for no plugins. So this module imports nothing but `sys`, and nothing of
lm-eval or of this package is imported before lm-eval itself is. Whatever goes wrong here costs one line of log:
lm-eval serves all other models too.
"""

import sys

# A module of lm-eval -> the function of `lm_eval_codd.registration` that is called once it has run, and what is lost
# if that cannot be done. Not earlier: lm-eval registers its own models only into an empty registry.
_HOSTS = {
    "lm_eval.models": ("register", "its models are unknown here; try `python -m lm_eval_codd run`"),
    "lm_eval.tasks": (
        "register_tasks",
        'its tasks are found only with --include_path "$(python -m lm_eval_codd tasks)"',
    ),
}


class _AfterHost:
    """Finds the modules of `_HOSTS` the usual way, and adds ours to each once it has run."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name not in _HOSTS:
            return None
        try:
            spec = cls._usual_spec(name, path, target)
            if spec is not None:
                spec.loader = _ThenRegister(spec.loader, name)
            return spec
        except Exception as error:
            _log(name, error)
            return None  # so that Python asks the other finders itself, as if we were not here

    @classmethod
    def _usual_spec(cls, name, path, target):
        for finder in sys.meta_path:
            if finder is not cls and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    return spec
        return None


class _ThenRegister:
    """Stands in for a module's loader until the module has run, and leaves no trace in it."""

    def __init__(self, loader, name):
        self._loader = loader
        self._name = name
        self._run = loader.exec_module

    def __getattr__(self, attribute):
        return getattr(self._loader, attribute)

    def exec_module(self, module):
        try:
            module.__loader__ = module.__spec__.loader = self._loader
        except Exception as error:
            _log(self._name, error)
        self._run(module)
        try:
            from lm_eval_codd import registration

            getattr(registration, _HOSTS[self._name][0])()
        except Exception as error:
            _log(self._name, error)


def install():
    """Watch for lm-eval's models and tasks. Does nothing the second time."""
    if _AfterHost not in sys.meta_path:
        sys.meta_path.insert(0, _AfterHost)


def _log(name, error):
    import logging

    reason = " ".join(f"{type(error).__name__}: {error}".split())
    logging.getLogger("lm_eval_codd").warning("lm-eval-codd: %s (%s)", _HOSTS[name][1], reason)
