"""Is the deployed network the trained one? Every comparison and its verdict."""
