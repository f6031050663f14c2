"""What setup.cfg cannot say: tasks and tables as packages, and the two start-up files at the root of site-packages."""

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

# Guarded, so that an interpreter whose copy of the boot module is gone still starts in silence.
_START = "try:\\n import _lm_eval_codd_boot as b; b.install()\\nexcept Exception: pass"
START_FILES = {
    "lm_eval_codd.pth": f'import sys; exec("{_START}")\n',
    # Python 3.15 and later read this one instead (PEP 829).
    "lm_eval_codd.start": "_lm_eval_codd_boot:install\n",
}


class BuildPyWithStartFiles(build_py):
    """Builds the package and puts the start-up files at the root of the wheel."""

    def run(self):
        """Build, then write the start-up files."""
        super().run()
        # An editable wheel has no build folder; its root is where `install` would put the library.
        root = self.get_finalized_command("install").install_lib if self.editable_mode else self.build_lib
        Path(root).mkdir(parents=True, exist_ok=True)
        for name, text in START_FILES.items():
            Path(root, name).write_text(text, encoding="ascii")

    def get_outputs(self, include_bytecode=1):
        """Name the start-up files as built, so that they are recorded."""
        outputs = super().get_outputs(include_bytecode)
        if self.editable_mode:
            return outputs
        return outputs + [str(Path(self.build_lib, name)) for name in START_FILES]


setup(
    packages=[
        *find_packages(include=["lm_eval_codd", "lm_eval_codd.*"]),
        "lm_eval_codd.tasks",
        "lm_eval_codd.paper",
    ],
    cmdclass={"build_py": BuildPyWithStartFiles},
)
