"""Machines that keep replicas and run instances: one file a kind, behind `contract.Node`."""
