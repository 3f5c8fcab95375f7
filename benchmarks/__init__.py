"""What Atoll takes, in time and memory, beside what the machine could do at best."""
