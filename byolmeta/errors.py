"""The one kind of error that is the user's to mend."""


class InputError(Exception):
    """A problem the user can mend, worded for them: what was found, what is needed, what to do."""
