"""Servers on loopback that behave as the real publishers do, with public fields that a test changes."""
