"""The operator on a real API server: how fast, how many writes, how much memory."""
