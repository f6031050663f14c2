"""Either family's tiny backbone."""

import pytest


@pytest.fixture(params=["llada-tiny", "dream-tiny"])
def backbone(request, load):
    """Either family."""
    return load(request.param)
