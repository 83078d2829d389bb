"""Makes MLflow's application: its settings are environment variables and a file, read while it is imported."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from smalt_tracking.guard import Application, Guard
from smalt_tracking.passwords import USERS, Passwords, secret_from
from smalt_tracking.settings import Settings

AUTH_CONFIG = """[mlflow]
default_permission = READ
database_uri = {database}
admin_username = admin
authorization_function = smalt_tracking.identity:authenticated
"""


def create(settings: Settings) -> Guard:
    """The guarded application, its databases migrated and its users there."""
    passwords = Passwords(settings.secrets)
    settings.data.mkdir(parents=True, exist_ok=True)
    (settings.data / "artifacts").mkdir(exist_ok=True)
    trust(settings.trust_bundle)
    # Not on the volume: it may hold the database's password, and the volume goes into backups.
    config = Path(tempfile.mkdtemp(prefix="smalt-")) / "auth.ini"
    config.touch(mode=0o600)
    config.write_text(AUTH_CONFIG.format(database=settings.database_uri("auth.db").replace("%", "%%")))
    os.environ.update(mlflow_environment(settings, config))
    # Imported late: these modules read the environment once, while they are imported.
    from mlflow.server.auth import create_app
    from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(
        os.environ["_MLFLOW_SERVER_FILE_STORE"], default_artifact_root=os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"]
    )
    application: Application = create_app()
    make_users()
    return Guard(application, passwords)


def trust(bundle: str) -> None:
    """The system's certificates and the workspace's, for buckets and whatever else is reached by TLS."""
    if not bundle:
        return
    import certifi

    whole = Path(tempfile.gettempdir()) / "certificates.pem"
    whole.write_bytes(Path(certifi.where()).read_bytes() + b"\n" + Path(bundle).read_bytes())
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        os.environ[name] = str(whole)


def mlflow_environment(settings: Settings, config: Path) -> dict[str, str]:
    """What `mlflow server` hands to its workers; the names that begin with _ are private, hence the pinned version."""
    database = settings.database_uri("mlflow.db")
    return {
        "_MLFLOW_SGI_NAME": "uvicorn",
        "_MLFLOW_SERVER_FILE_STORE": database,
        "_MLFLOW_SERVER_REGISTRY_STORE": database,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": settings.artifacts or str(settings.data / "artifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "MLFLOW_AUTH_CONFIG_PATH": str(config),
        # For the row alone that MLflow keeps of its admin: passwords are the guard's business.
        "MLFLOW_AUTH_ADMIN_PASSWORD": secrets.token_urlsafe(32),
        "MLFLOW_BASIC_AUTH_FAIL_CLOSED": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_AI_GATEWAY": "false",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secret_from(settings.secrets / "flask-secret-key").decode(),
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(settings.allowed_hosts),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


def make_users() -> None:
    """The rows that MLflow attaches permissions to. Their own passwords are random and never used."""
    from mlflow.server.auth import store

    for user in USERS:
        if not store.has_user(user):
            store.create_user(user, secrets.token_urlsafe(32), is_admin=user == "admin")
