"""An operator as kopf's tutorial teaches it: a create handler, an adopted child, the synchronous client, the result kept.

Its own small CRD (naive_crd.yaml) has, as in the tutorial, no schema and no status subresource: cheaper for it than
ours would be. The Job's manifest, the same as ours, is in the file JOB_TEMPLATE.
"""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import kopf
import kubernetes

TEMPLATE = json.loads(Path(os.environ["JOB_TEMPLATE"]).read_text())


@kopf.on.create("bench.smalt.dev", "v1", "naiveruns")
def create_fn(name: str, namespace: str | None, logger: Any, **_: Any) -> dict[str, str]:
    job = copy.deepcopy(TEMPLATE)
    job["metadata"] = {"name": f"{name}-1", "labels": job["metadata"]["labels"]}
    kopf.adopt(job)
    api = kubernetes.client.BatchV1Api()
    made = api.create_namespaced_job(namespace=namespace, body=job)
    logger.info(f"Job is created: {made.metadata.name}")
    return {"job-name": made.metadata.name}
