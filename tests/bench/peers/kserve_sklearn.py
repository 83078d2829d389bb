"""KServe's model server with a scikit-learn model: what its sklearnserver does, which is on no package index."""

from __future__ import annotations

import sys
from typing import Any

import joblib
from kserve import Model, ModelServer
from kserve.utils.utils import get_predict_input, get_predict_response

FILE, PORT = sys.argv[1], int(sys.argv[2])


class SklearnModel(Model):  # type: ignore[misc]
    """One joblib file."""

    def load(self) -> bool:
        """Ready, once the file is read."""
        self.estimator = joblib.load(FILE)
        self.ready = True
        return True

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        """A prediction for each instance."""
        return get_predict_response(payload, self.estimator.predict(get_predict_input(payload)), self.name)


if __name__ == "__main__":
    served = SklearnModel("iris")
    served.load()
    ModelServer(http_port=PORT, workers=1, enable_grpc=False, access_log_format=None).start([served])
