"""The work on queues that people do: look, copy, send back. One file a job, wired here."""
