"""When flows run, and with what limits: schedules, queues, automations, and what a person changed of them."""
