"""What a site lets algorithms reach: an allow-list through a filtering proxy, and services by name."""
