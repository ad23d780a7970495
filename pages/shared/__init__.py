"""What the screens share: the guard, cached resources, small widgets."""
