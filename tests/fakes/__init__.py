"""Stand-ins for AWS on the loop's own clock; as strict as the real ones."""
