"""The machinery that carries plans out: store, queue, applier, elector, loop."""
