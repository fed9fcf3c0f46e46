"""Where models are published: one file a source, behind `contract.Source`."""
