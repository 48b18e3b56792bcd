"""What to do next: decisions over the state of a run. Pure: no I/O, no clock."""
