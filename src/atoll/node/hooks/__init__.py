"""What is done around a call, one thing per module."""
