"""What the formats of models look like from outside: each is checked by its structure, and nothing of it is executed.

Every check reads a file piece by piece, within bounds of memory and steps, and ends with what it has found or with
NotRegistered, whatever bytes it is given.
"""
