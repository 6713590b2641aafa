"""The facts of a file, and the costs of its network on a board, as text."""
