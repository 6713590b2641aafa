"""The help of the commands, whole at 80 columns."""
