"""How fast nodes are drained, and what that costs, on a real control plane."""
