"""The command line: it parses, wires and prints; one function per command returns the exit code."""
