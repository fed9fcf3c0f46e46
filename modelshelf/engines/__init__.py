"""What serves: one file an engine, behind `contract.Engine`. `table` says which engine serves which format."""
