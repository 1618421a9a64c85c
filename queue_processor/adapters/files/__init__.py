"""Files on disk that people's commands leave and read."""
