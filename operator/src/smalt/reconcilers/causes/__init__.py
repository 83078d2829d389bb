"""Why something does not run: each module reads one kind of witness and gives the deepest cause with the next step."""
