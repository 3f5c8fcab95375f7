"""How a hub's tables came to be as they are: one step after the other, never changed once released."""
