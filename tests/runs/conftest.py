from pathlib import Path

import pytest

from tests.run_files import checkpoint_folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return checkpoint_folder(tmp_path)
