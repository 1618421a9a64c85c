"""The queue tools: one file for each command with its work, and the parts that they share."""
