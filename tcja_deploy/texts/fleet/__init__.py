"""The results of the commands about more than one machine, as text."""
