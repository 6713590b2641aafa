"""The file formats of event cameras: one module reads each format.

To add a format, write its module in this folder and add a row to `tcja_runtime.events.formats.registry.FORMATS`.
"""
