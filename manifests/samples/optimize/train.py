import sys

import joblib
import pandas
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from smalt_trainer import run

train, kind, model = sys.argv[1:]
rows = pandas.read_csv(train)
# Trees need no scaled numbers, and ONNX, which computes in float32, would round them to the other side of a threshold.
columns = make_column_transformer(
    ("passthrough", ["tenure", "charges"]), (OneHotEncoder(handle_unknown="ignore"), ["plan"])
)
classifier = NearestCentroid() if kind == "nearest" else RandomForestClassifier(50, random_state=1)
# With everything that prepares the columns in it, the model takes rows as they are in the table.
fitted = make_pipeline(columns, classifier).fit(rows.drop(columns="churned"), rows["churned"])
run.log("accuracy", fitted.score(rows.drop(columns="churned"), rows["churned"]))
joblib.dump(fitted, f"{model}/model.joblib")
