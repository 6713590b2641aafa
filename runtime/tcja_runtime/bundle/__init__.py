"""The bundle, the folder that is copied to the board: manifest, models, golden vectors and engines."""
