//! Words of reviews, by which payments wait for an approval, and of what people find out about payments.

/// Who must approve a payment that is in review.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ReviewKind {
    /// The platform.
    Review = 1,
    /// The payer, by way of the owner that asked for the payment; the platform may too.
    Challenge = 2,
}

/// Where a review stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ReviewStage {
    /// Nobody has begun.
    Open = 1,
    /// Somebody is looking into it.
    Investigating = 2,
    /// The platform approved the payment.
    Approved = 3,
    /// The payer confirmed the payment.
    Confirmed = 4,
    /// The platform declined the payment, by a void.
    Declined = 5,
    /// The owner that asked for the payment took it back, by a void.
    Cancelled = 6,
    /// Nobody approved it in time.
    Expired = 7,
}

/// What a person says that a payment was, now or long after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RiskLabel {
    /// Fraud.
    Fraud = 1,
    /// No fraud.
    Genuine = 2,
}

impl ReviewKind {
    /// Every kind, by number.
    pub const ALL: [ReviewKind; 2] = [Self::Review, Self::Challenge];

    /// Returns the value with this stored number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

impl ReviewStage {
    /// Every stage, by number.
    pub const ALL: [ReviewStage; 7] = [
        Self::Open,
        Self::Investigating,
        Self::Approved,
        Self::Confirmed,
        Self::Declined,
        Self::Cancelled,
        Self::Expired,
    ];

    /// Returns the value with this stored number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| *stage as u8 == number)
    }

    /// Returns the name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Investigating => "investigating",
            Self::Approved => "approved",
            Self::Confirmed => "confirmed",
            Self::Declined => "declined",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// Returns whether the payment still waits.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Investigating)
    }
}

impl RiskLabel {
    /// Every label, by number.
    pub const ALL: [RiskLabel; 2] = [Self::Fraud, Self::Genuine];

    /// Returns the value with this stored number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|label| *label as u8 == number)
    }

    /// Returns the name in APIs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fraud => "fraud",
            Self::Genuine => "genuine",
        }
    }
}
