"""The command line: one module a command, which reads its options and prints its result."""
