"""How often each step may be tried: one idempotent, verb-named step each, over the library's own."""
