"""The folder that travels to the board: manifest, models, golden vectors, engines."""
