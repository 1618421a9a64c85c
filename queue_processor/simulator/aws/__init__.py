"""AWS in process: moto, with what it lacks."""
