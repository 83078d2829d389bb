"""What pip is set to on this machine, by variables and files, and the same settings in uv's words."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_NAMES = (
    "index_url",
    "extra_index_urls",
    "no_index",
    "find_links",
    "trusted_hosts",
    "proxy",
    "cert",
    "client_cert",
    "timeout",
)
_ASK = f"""\
import json
from pip._internal.commands import create_command
found = create_command("install").parser.get_default_values()
print(json.dumps({{name: getattr(found, name, None) for name in {_NAMES}}}))
"""


def settings(python: Path) -> dict[str, Any]:
    """pip's own names and values, its defaults included; none where there is no pip that would tell."""
    if not python.exists():
        return {}
    asked = subprocess.run([python, "-c", _ASK], capture_output=True, text=True)
    try:
        return dict(json.loads(asked.stdout)) if asked.returncode == 0 else {}
    except ValueError:
        return {}  # what is no pip's answer tells nothing


def for_uv(found: Mapping[str, Any]) -> dict[str, str]:
    """Variables with which uv looks where pip would."""
    proxy, timeout = found.get("proxy") or "", found.get("timeout")
    variables = {
        "UV_DEFAULT_INDEX": found.get("index_url") or "",
        "UV_INDEX": " ".join(found.get("extra_index_urls") or ()),
        # As pip does: the best of all indexes, which the lock's hashes keep safe.
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": ",".join(found.get("find_links") or ()),
        "UV_NO_INDEX": "1" if found.get("no_index") else "",
        "UV_INSECURE_HOST": " ".join(found.get("trusted_hosts") or ()),
        "UV_HTTP_TIMEOUT": f"{timeout:.0f}" if timeout else "",
        "HTTPS_PROXY": proxy,
        "HTTP_PROXY": proxy,
        "SSL_CERT_FILE": found.get("cert") or "",
        "SSL_CLIENT_CERT": found.get("client_cert") or "",
    }
    return {name: value for name, value in variables.items() if value}
