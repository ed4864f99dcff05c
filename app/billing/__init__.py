"""What organizations have bought: by now, their plan."""

from app.billing.plans import OrganizationPlans, PlanSet

__all__ = ["OrganizationPlans", "PlanSet"]
