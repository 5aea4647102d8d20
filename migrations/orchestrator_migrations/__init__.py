"""The schema's history, by Alembic. Shipped inside the wheel, so that an installation can upgrade its own database."""

from orchestrator_migrations.upgrade import head, upgrade, version

__all__ = ["head", "upgrade", "version"]
