"""What each credit mutation may answer: its success, or one of the refusals it lists."""

from typing import Annotated

import strawberry

from schema.credits.results import (
    AdjustCreditsSuccess,
    DeductCreditsSuccess,
    ExtendReservationSuccess,
    ForgiveOverageSuccess,
    GrantCreditsSuccess,
    RefundCreditsSuccess,
    ReleaseCreditsSuccess,
    ReserveCreditsSuccess,
    SettleCreditsSuccess,
    VoidGrantSuccess,
)
from schema.refusals import (
    BalanceLimit,
    DuplicateRequest,
    GrantNotFound,
    InsufficientCredits,
    OfGiving,
    OfSpending,
    RefundExceedsSettled,
    ReservationExpired,
    ReservationNotFound,
    ReservationReleased,
    ReservationSettled,
    SettleAmountImplausible,
    TransactionNotFound,
)

ReserveCreditsResult = Annotated[
    ReserveCreditsSuccess | InsufficientCredits | DuplicateRequest | OfSpending,
    strawberry.union("ReserveCreditsResult", description="What came of it."),
]
ExtendReservationResult = Annotated[
    ExtendReservationSuccess
    | InsufficientCredits
    | ReservationNotFound
    | ReservationSettled
    | ReservationReleased
    | ReservationExpired
    | OfSpending,
    strawberry.union("ExtendReservationResult", description="What came of it."),
]
SettleCreditsResult = Annotated[
    SettleCreditsSuccess
    | ReservationNotFound
    | ReservationSettled
    | ReservationReleased
    | SettleAmountImplausible
    | BalanceLimit
    | OfSpending,
    strawberry.union("SettleCreditsResult", description="What came of it."),
]
ReleaseCreditsResult = Annotated[
    ReleaseCreditsSuccess | ReservationNotFound | ReservationSettled | OfSpending,
    strawberry.union("ReleaseCreditsResult", description="What came of it."),
]
DeductCreditsResult = Annotated[
    DeductCreditsSuccess | InsufficientCredits | DuplicateRequest | OfSpending,
    strawberry.union("DeductCreditsResult", description="What came of it."),
]
GrantCreditsResult = Annotated[
    GrantCreditsSuccess | BalanceLimit | DuplicateRequest | OfGiving,
    strawberry.union("GrantCreditsResult", description="What came of it."),
]
AdjustCreditsResult = Annotated[
    AdjustCreditsSuccess | InsufficientCredits | BalanceLimit | DuplicateRequest | OfGiving,
    strawberry.union("AdjustCreditsResult", description="What came of it."),
]
RefundCreditsResult = Annotated[
    RefundCreditsSuccess
    | RefundExceedsSettled
    | ReservationNotFound
    | TransactionNotFound
    | BalanceLimit
    | DuplicateRequest
    | OfGiving,
    strawberry.union("RefundCreditsResult", description="What came of it."),
]
VoidGrantResult = Annotated[
    VoidGrantSuccess | GrantNotFound | BalanceLimit | DuplicateRequest | OfGiving,
    strawberry.union("VoidGrantResult", description="What came of it."),
]
ForgiveOverageResult = Annotated[
    ForgiveOverageSuccess | DuplicateRequest | OfGiving,
    strawberry.union("ForgiveOverageResult", description="What came of it."),
]
