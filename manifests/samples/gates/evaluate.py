import sys
from pathlib import Path

import joblib
import pandas

from smalt_trainer import run

model, test = sys.argv[1:]
[file] = Path(model).rglob("model.joblib")
rows = pandas.read_csv(test)
run.log("accuracy", joblib.load(file).score(rows[["tenure", "charges"]], rows["churned"]))
