from __future__ import annotations

import pytest

from tcja_runtime.errors import BadInput
from tcja_runtime.files import limits
from tcja_runtime.signing.settings import read_settings


def test_what_all_may_write_is_refused(tmp_path):
    file = tmp_path / "config.json"
    file.write_text("{}")
    file.chmod(0o664)
    assert read_settings(file, limits.SETTINGS) == b"{}"
    file.chmod(0o666)
    with pytest.raises(BadInput, match=r"says whom you trust, and all may write it; read it, then 'chmod o-w /.*json'"):
        read_settings(file, limits.SETTINGS)
