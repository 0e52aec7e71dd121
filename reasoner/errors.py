"""The one error a user can mend. The command line prints its message on one line and exits with code 2."""


class UserError(Exception):
    """Bad input or a missing precondition. The message says what is wrong, where, and the fix, in one line."""
