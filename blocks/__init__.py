"""Where things are: settings and secrets as Prefect blocks, each with one method that opens the real thing."""
