"""When: schedules and limits, and how the whole is brought up on one machine."""
