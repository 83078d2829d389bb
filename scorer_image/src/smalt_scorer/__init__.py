"""The scoring server: a registered model behind `POST /score`, with a score script of Azure ML's kind or without."""
