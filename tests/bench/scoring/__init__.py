"""How fast a model answers: our scoring server beside Azure's own, MLServer, KServe and FastAPI by hand."""
