"""How fast a cohort is read and delivered, beside Mixpanel's own Python clients: `python -m bench`."""
