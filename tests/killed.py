"""A kill that tests can stage: see the fixture `kill_before`."""


class Killed(BaseException):
    """Stands for SIGKILL: nothing handles it."""
