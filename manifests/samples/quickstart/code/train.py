"""Trains a classifier on a CSV file whose column `target` is 0 or 1, and says how good it is."""

import argparse
import os
from pathlib import Path

import joblib
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

parser = argparse.ArgumentParser()
parser.add_argument("--data", required=True, help="the CSV file")
parser.add_argument("--C", type=float, default=0.5, help="smaller values regularise more")
parser.add_argument("--model", required=True, help="the folder to write model.joblib to")
arguments = parser.parse_args()

table = pd.read_csv(arguments.data)
features, target = table.drop(columns="target").to_numpy(), table["target"].to_numpy()
x_train, x_test, y_train, y_test = train_test_split(features, target, test_size=0.25, random_state=0, stratify=target)

model = make_pipeline(StandardScaler(), LogisticRegression(C=arguments.C, max_iter=1000))
model.fit(x_train, y_train)

auc = roc_auc_score(y_test, model.predict_proba(x_test)[:, 1])
accuracy = accuracy_score(y_test, model.predict(x_test))
print(f"C={arguments.C} auc={auc:.4f} accuracy={accuracy:.4f} on {len(y_test)} rows that were not trained on")
if "MLFLOW_TRACKING_URI" in os.environ:  # on a laptop without a tracking server the line above is all
    import mlflow

    mlflow.log_metric("auc", auc)
    mlflow.log_metric("accuracy", accuracy)

folder = Path(arguments.model)
folder.mkdir(parents=True, exist_ok=True)
joblib.dump(model, folder / "model.joblib")
