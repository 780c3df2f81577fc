//! The assessment of a command as bytes.

use super::bytes::{Corrupt, Input, Put};
use super::objects::review_kind;
use crate::{Assessment, Effect, ReviewTerms};

const ALLOW: u8 = 0;
const BLOCK: u8 = 1;
const REVIEW: u8 = 2;

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
    match assessment.effect() {
        Effect::Allow => into.u8(ALLOW),
        Effect::Block => into.u8(BLOCK),
        Effect::Review(terms) => {
            into.u8(REVIEW);
            into.u8(terms.kind as u8);
            into.put(&terms.seconds.to_le_bytes());
        }
    }
    into.u16(u16::try_from(report.len()).expect("reports are at most 16 KiB"));
    into.put(report);
}

/// Takes what [`put_assessment`] writes.
pub(super) fn take_assessment<'a>(input: &mut Input<'a>) -> Result<AssessmentRef<'a>, Corrupt> {
    let effect = match input.u8()? {
        ALLOW => Effect::Allow,
        BLOCK => Effect::Block,
        REVIEW => Effect::Review(ReviewTerms {
            kind: review_kind(input.u8()?)?,
            seconds: u32::from_le_bytes(input.array()?),
        }),
        _ => return Err(Corrupt("unknown effect")),
    };
    let len = input.u16()?;
    let report = input.take(len.into())?;
    match Assessment::is_sound(effect, report) {
        true => Ok(AssessmentRef { effect, report }),
        false => Err(Corrupt("not an assessment")),
    }
}
