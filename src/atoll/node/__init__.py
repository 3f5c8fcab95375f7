"""The program at a data station: claims jobs, runs them, reports."""
