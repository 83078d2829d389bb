"""Decisions: (object, what is observed, now) -> Plan. Pure, one module per kind."""
