"""The texts of results for people: what a command prints, and what `print` shows of a result in Python."""
