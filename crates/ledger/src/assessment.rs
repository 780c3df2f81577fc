//! Assessments: what the rules for risk found about a payment before it was decided. The ledger obeys the effect and keeps the report.

/// What is done with a payment that was assessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Effect {
    /// It is decided as if nobody had looked.
    Allow = 0,
    /// It is refused, unless something with a lower number is against it: see [`crate::Rejection`].
    Block = 1,
}

impl Effect {
    /// Returns the value with this stored number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Allow, Self::Block]
            .into_iter()
            .find(|effect| *effect as u8 == number)
    }
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
    /// [`Assessment::REPORT_BYTES_MAX`].
    pub fn new(effect: Effect, report: &[u8]) -> Option<Assessment> {
        Self::is_sound(report).then(|| Assessment {
            effect,
            report: report.into(),
        })
    }

    /// Returns whether [`Assessment::new`] takes this report.
    pub(crate) fn is_sound(report: &[u8]) -> bool {
        (1..=Self::REPORT_BYTES_MAX).contains(&report.len())
    }

    /// Returns what is done with the payment.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// Returns how the assessment came about.
    pub fn report(&self) -> &[u8] {
        &self.report
    }
}
