"""The functions of `tcja_deploy` for Python, their options, the kinds of data that they take, and their results."""
