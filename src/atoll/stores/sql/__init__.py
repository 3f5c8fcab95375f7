"""What a hub keeps in a database: SQLite in a file, or PostgreSQL."""
