"""The device half of tcja-deploy: numpy only, everything else is imported when it is used."""

import os

# ONNX Runtime since 1.29 tells its maker about every model that it loads, unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
