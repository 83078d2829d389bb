"""The least that making Jobs can cost in Python: typed POSTs of the official client, eight at a time, and no operator.

python plain_loop.py <namespace> <count>, with the Job's manifest in the file JOB_TEMPLATE.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from kubernetes.aio import client, config

AT_A_TIME = 8
TEMPLATE = json.loads(Path(os.environ["JOB_TEMPLATE"]).read_text())


async def make(namespace: str, count: int) -> None:
    await config.load_kube_config()
    async with client.ApiClient() as api:
        jobs = client.BatchV1Api(api)
        numbers = iter(range(count))

        async def worker() -> None:
            for number in numbers:
                metadata = client.V1ObjectMeta(name=f"loop-{number}-1", labels=TEMPLATE["metadata"]["labels"])
                job = client.V1Job(
                    api_version="batch/v1",
                    kind="Job",
                    metadata=metadata,
                    spec=TEMPLATE["spec"],
                )
                await jobs.create_namespaced_job(namespace, job)

        await asyncio.gather(*(worker() for _ in range(AT_A_TIME)))
    # Whoever measures ends this process, and would take an early end for a failure.
    await asyncio.sleep(3600)


if __name__ == "__main__":
    asyncio.run(make(sys.argv[1], int(sys.argv[2])))
