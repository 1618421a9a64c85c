"""The benchmark: drain speed and its cost on a real control plane."""
