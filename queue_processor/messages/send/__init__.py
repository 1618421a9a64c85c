"""`queue-processor messages send`: the events of a drill."""
