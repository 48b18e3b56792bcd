"""A code folder with its state folder, its runs and the locks on them."""
