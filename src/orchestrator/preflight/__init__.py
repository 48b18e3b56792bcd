"""Checks that decide whether a run can start here; `doctor` reports them."""
