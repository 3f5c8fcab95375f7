"""What happens at the hub, told to whoever follows."""
