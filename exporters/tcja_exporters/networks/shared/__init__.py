"""Code that several published networks share."""
