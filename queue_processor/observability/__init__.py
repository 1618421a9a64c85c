"""What the program shows of itself: metrics, logs, health."""
