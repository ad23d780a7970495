"""What is kept: tables, runs and snapshots."""
