"""Looks at a data station and says what is wrong with it, and what to do."""
