"""What clients say and hear: each protocol as functions of bytes and arrays, without a word of HTTP."""
