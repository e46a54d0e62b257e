"""Frozen values and pure rules: no database, no network, no training; standard library, numpy and pydantic only."""
