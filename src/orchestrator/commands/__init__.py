"""One module for each thing that the user can ask for."""
