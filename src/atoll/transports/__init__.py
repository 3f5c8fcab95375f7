"""What lies between the programs: how they speak, and over what."""
