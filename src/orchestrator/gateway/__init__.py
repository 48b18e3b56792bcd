"""The model gateway: its own process, which holds the key and gives each attempt a socket of its own."""
