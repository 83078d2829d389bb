"""Children: from a spec to plain manifests. Pure, one file per kind of child."""
