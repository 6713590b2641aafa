"""What several published networks have in common."""
