"""Public readers of Mixpanel, each in an environment of its own, read the sandbox's cohorts: `make counterparts`."""
