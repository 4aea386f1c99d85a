"""Many scenes: discovery, jobs, journal, summary."""
