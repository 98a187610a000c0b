"""Who is asked: one adapter a teacher. `openai` is imported only where it is chosen."""
