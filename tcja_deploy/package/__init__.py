"""The work of `package`: a bundle as other people's servers and robots take it."""
