"""A real Kubernetes for tests and the demo: `python3 -m cluster up|down|status|images|env|…`, `-h` for all.

Standard library only, since it has to run before anything is installed.
"""
