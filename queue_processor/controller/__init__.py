"""Orchestration over small ports; knows no SDK."""
