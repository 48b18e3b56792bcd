"""Puts the parts together: from a command's options to a run that is carried out, or taken back."""
