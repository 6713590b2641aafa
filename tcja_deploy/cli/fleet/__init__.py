"""The options of the commands about more than one machine."""
