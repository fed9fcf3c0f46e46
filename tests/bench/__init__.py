"""`make bench`: our figures beside the machine's own limits, measured in the same run. The ratios count."""
