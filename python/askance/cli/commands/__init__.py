"""The commands, their flags and their help; what each does is imported when it is called."""
