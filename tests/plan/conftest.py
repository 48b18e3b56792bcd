"""Helper modules of this folder can be imported by their own name."""
