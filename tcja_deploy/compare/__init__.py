"""The work of `compare`: results of many boards, side by side, and what differs between them."""
