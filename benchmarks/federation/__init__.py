"""A hub and nodes as processes of their own, what asks them, and what the same costs without them."""
