"""Stock MLflow behind a guard: whichever part of MLflow serves a path, it is answered to a known user only."""
