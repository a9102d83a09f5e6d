"""The command line: one file a command, each with its options as a frozen dataclass and what it does as a call.

Every file has a function `command`, which gives the type that is parsed and its defaults for some arguments.
`main` imports only the file of the command that is called.
"""
