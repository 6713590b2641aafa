"""SpikingJelly 2. The neurons of the first release are in test_properties.py, with those of the other libraries."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SECOND = Path(sys.prefix) / "spikingjelly-2"


@pytest.mark.slow
@pytest.mark.releases
def test_all_of_this_with_spikingjelly_2():
    """The second release, which cannot be installed beside the first, in a process of its own."""
    if not SECOND.exists():
        pytest.skip("SpikingJelly 2 is not at hand; make test-all installs it")
    folder = Path(__file__).parent
    files = [
        folder.parent / "user_models/test_conversion.py",
        folder / "test_properties.py",
        folder / "test_refused.py",
        f"{folder.parent / 'nir_graphs/test_dialects.py'}::test_spikingjelly",
    ]
    chosen = "(activation_based or parallel or documents or Node or PSN or test_dialects) and not lower_precision"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, *files],
        env={**os.environ, "PYTHONPATH": str(SECOND)},
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stdout
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) > 22
