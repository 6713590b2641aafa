"""Where a bundle comes from: signatures, the keys that the user trusts, and the engines that were built here."""
