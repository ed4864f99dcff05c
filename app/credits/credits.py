"""`Credits`: one method for each SQL function of the credits domain."""

from app.credits.accounts import Accounts
from app.credits.grants import Grants
from app.credits.reservations import Reservations


class Credits(Reservations, Grants, Accounts):
    """Credits of organizations. An account's id is its organization's id."""
