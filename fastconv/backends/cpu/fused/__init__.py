"""Chains of small layers that run as one kernel."""
