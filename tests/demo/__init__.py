"""`make demo`: from nothing to a served prediction, as a newcomer would do it by hand with kubectl."""
