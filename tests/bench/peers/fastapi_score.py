"""A scoring server as people write one by hand: FastAPI, a pydantic body, the model called in the handler."""

from __future__ import annotations

import sys

import joblib
import numpy
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

application = FastAPI()
model = joblib.load(sys.argv[1])


class Rows(BaseModel):
    """The body."""

    data: list[list[float]]


@application.get("/healthz")
async def healthz() -> dict[str, str]:
    """Alive."""
    return {"status": "ok"}


@application.post("/score")
async def score(rows: Rows) -> dict[str, list[float]]:
    """A prediction for each row."""
    return {"predictions": model.predict(numpy.asarray(rows.data)).tolist()}


uvicorn.run(application, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)
