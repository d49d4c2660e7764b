"""The claims ledger: one test for each statement of the teaching notes that this course grew from."""
