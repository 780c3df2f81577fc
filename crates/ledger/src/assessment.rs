//! Assessments: what the rules for risk found about a payment before it was decided. The ledger obeys the effect and keeps the report.

use crate::ReviewKind;

/// What is done with a payment that was assessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It is decided as if nobody had looked.
    Allow,
    /// Its amount is held until somebody approves it.
    Review(ReviewTerms),
    /// It is refused, unless something with a lower number is against it: see [`crate::Rejection`].
    Block,
}

/// Terms of a review.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReviewTerms {
    /// Who must approve.
    pub kind: ReviewKind,
    /// Time until the hold expires, seconds; at least 1.
    pub seconds: u32,
}

/// The assessment of a payment that is made or runs. The system adds it to the command, so it is no part of the command's digest: a
/// repetition gets its first answer, whatever the rules say by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    effect: Effect,
    report: Box<[u8]>,
}

impl Assessment {
    /// Maximum size of a report, bytes.
    pub const REPORT_BYTES_MAX: usize = 16 * 1024;

    /// Returns an assessment with a report that the ledger does not read. None if the report is empty or longer than
    /// [`Assessment::REPORT_BYTES_MAX`], or a review has no time.
    pub fn new(effect: Effect, report: &[u8]) -> Option<Assessment> {
        Self::is_sound(effect, report).then(|| Assessment {
            effect,
            report: report.into(),
        })
    }

    /// Returns whether [`Assessment::new`] takes these.
    pub(crate) fn is_sound(effect: Effect, report: &[u8]) -> bool {
        let has_time = match effect {
            Effect::Review(terms) => terms.seconds > 0,
            Effect::Allow | Effect::Block => true,
        };
        has_time && (1..=Self::REPORT_BYTES_MAX).contains(&report.len())
    }

    /// Returns what is done with the payment.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// Returns the terms of the review, if the payment is to be reviewed.
    pub fn review(&self) -> Option<ReviewTerms> {
        match self.effect {
            Effect::Review(terms) => Some(terms),
            Effect::Allow | Effect::Block => None,
        }
    }

    /// Returns how the assessment came about.
    pub fn report(&self) -> &[u8] {
        &self.report
    }
}
