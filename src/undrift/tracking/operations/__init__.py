"""What can be done in tracking: one file for each thing."""
