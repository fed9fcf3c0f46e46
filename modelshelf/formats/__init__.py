"""What a file may be, read from its own bytes within limits. Nothing foreign is executed or unpickled here."""
