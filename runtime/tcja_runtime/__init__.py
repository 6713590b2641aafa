"""The part of tcja-deploy that runs on a board. It imports numpy only; other packages are imported when needed."""

import os

# ONNX Runtime sends telemetry about every model that it loads (since 1.29), unless this is set before its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
