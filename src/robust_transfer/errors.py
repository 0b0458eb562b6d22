"""The one kind of error that is meant for the person at the screen."""


class UserError(Exception):
    """Something a user can mend: shown as its text alone, never with a traceback.

    The text says what is wrong, what was expected and the remedy. Several mistakes go into one error, a line each.
    """

    def __init__(self, text: str = ""):
        # Names of files may hold bytes that are no UTF-8, which no log takes.
        super().__init__(text.encode(errors="backslashreplace").decode())
