"""The pages that people read: the report of an export, and the picture of a run."""
