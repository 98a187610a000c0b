"""The command line; `main` defines the commands, and each command's body is imported only when it is called."""
