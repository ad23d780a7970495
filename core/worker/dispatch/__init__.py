"""How work gets to a worker: "there is work: run 12" (`data/run_jobs.ring`, by whoever queues it), "take the next"."""
