"""Plans: their tasks and the order between them. Pure: no I/O."""
