"""What the windows of an export looked like, and how the network fired in them."""
