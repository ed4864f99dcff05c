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
    BalanceNotFound,
    Busy,
    DuplicateRequest,
    Forbidden,
    GrantNotFound,
    InsufficientCredits,
    InvalidInput,
    NotFound,
    RefundExceedsSettled,
    ReservationExpired,
    ReservationNotFound,
    ReservationReleased,
    ReservationSettled,
    ScopeRequired,
    SettleAmountImplausible,
    TransactionNotFound,
)

ReserveCreditsResult = Annotated[
    ReserveCreditsSuccess
    | InsufficientCredits
    | DuplicateRequest
    | BalanceNotFound
    | Forbidden
    | NotFound
    | InvalidInput
    | Busy,
    strawberry.union("ReserveCreditsResult", description="What came of it."),
]
ExtendReservationResult = Annotated[
    ExtendReservationSuccess
    | InsufficientCredits
    | ReservationNotFound
    | ReservationSettled
    | ReservationReleased
    | ReservationExpired
    | BalanceNotFound
    | Forbidden
    | NotFound
    | InvalidInput
    | Busy,
    strawberry.union("ExtendReservationResult", description="What came of it."),
]
SettleCreditsResult = Annotated[
    SettleCreditsSuccess
    | ReservationNotFound
    | ReservationSettled
    | ReservationReleased
    | SettleAmountImplausible
    | BalanceLimit
    | BalanceNotFound
    | Forbidden
    | NotFound
    | InvalidInput
    | Busy,
    strawberry.union("SettleCreditsResult", description="What came of it."),
]
ReleaseCreditsResult = Annotated[
    ReleaseCreditsSuccess
    | ReservationNotFound
    | ReservationSettled
    | BalanceNotFound
    | Forbidden
    | NotFound
    | InvalidInput
    | Busy,
    strawberry.union("ReleaseCreditsResult", description="What came of it."),
]
DeductCreditsResult = Annotated[
    DeductCreditsSuccess
    | InsufficientCredits
    | DuplicateRequest
    | BalanceNotFound
    | Forbidden
    | NotFound
    | InvalidInput
    | Busy,
    strawberry.union("DeductCreditsResult", description="What came of it."),
]
GrantCreditsResult = Annotated[
    GrantCreditsSuccess
    | BalanceLimit
    | DuplicateRequest
    | BalanceNotFound
    | Forbidden
    | ScopeRequired
    | NotFound
    | InvalidInput
    | Busy,
    strawberry.union("GrantCreditsResult", description="What came of it."),
]
AdjustCreditsResult = Annotated[
    AdjustCreditsSuccess
    | InsufficientCredits
    | BalanceLimit
    | DuplicateRequest
    | BalanceNotFound
    | Forbidden
    | ScopeRequired
    | NotFound
    | InvalidInput
    | Busy,
    strawberry.union("AdjustCreditsResult", description="What came of it."),
]
RefundCreditsResult = Annotated[
    RefundCreditsSuccess
    | RefundExceedsSettled
    | ReservationNotFound
    | TransactionNotFound
    | BalanceLimit
    | DuplicateRequest
    | BalanceNotFound
    | Forbidden
    | ScopeRequired
    | NotFound
    | InvalidInput
    | Busy,
    strawberry.union("RefundCreditsResult", description="What came of it."),
]
VoidGrantResult = Annotated[
    VoidGrantSuccess
    | GrantNotFound
    | BalanceLimit
    | DuplicateRequest
    | BalanceNotFound
    | Forbidden
    | ScopeRequired
    | NotFound
    | InvalidInput
    | Busy,
    strawberry.union("VoidGrantResult", description="What came of it."),
]
ForgiveOverageResult = Annotated[
    ForgiveOverageSuccess
    | DuplicateRequest
    | BalanceNotFound
    | Forbidden
    | ScopeRequired
    | NotFound
    | InvalidInput
    | Busy,
    strawberry.union("ForgiveOverageResult", description="What came of it."),
]
