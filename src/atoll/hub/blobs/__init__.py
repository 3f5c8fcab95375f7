"""Files of runs at the hub: brought in parts, fetched by who may read them."""
