//! The assessment of a command as bytes.

use super::bytes::{Corrupt, Input, Put};
use crate::{Assessment, Effect};

/// Assessment of a command, read in place. As in [`Assessment`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AssessmentRef<'a> {
    /// What is done with the payment.
    pub effect: Effect,
    /// How the assessment came about.
    pub report: &'a [u8],
}

impl AssessmentRef<'_> {
    /// Returns the assessment.
    pub fn to_assessment(self) -> Assessment {
        Assessment::new(self.effect, self.report).expect("checked when read")
    }
}

pub(super) fn put_assessment(assessment: &Assessment, into: &mut Vec<u8>) {
    let report = assessment.report();
    into.u8(assessment.effect() as u8);
    into.u16(u16::try_from(report.len()).expect("reports are at most 16 KiB"));
    into.put(report);
}

/// Takes what [`put_assessment`] writes.
pub(super) fn take_assessment<'a>(input: &mut Input<'a>) -> Result<AssessmentRef<'a>, Corrupt> {
    let effect = Effect::from_number(input.u8()?).ok_or(Corrupt("unknown effect"))?;
    let len = input.u16()?;
    let report = input.take(len.into())?;
    match Assessment::is_sound(report) {
        true => Ok(AssessmentRef { effect, report }),
        false => Err(Corrupt("not an assessment")),
    }
}
