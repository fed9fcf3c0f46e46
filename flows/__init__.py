"""What happens, in order: one file a lifecycle. No try, no clients, no bytes."""
