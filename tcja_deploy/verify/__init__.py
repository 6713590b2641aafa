"""The work of `verify`: parity is proven again on this machine."""
