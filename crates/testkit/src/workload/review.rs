//! What the rules for risk may find, and what people do about it.

use tributary_ledger::{
    Approve, Assessment, Body, Effect, Investigate, Label, PaymentStatus, ReviewKind, ReviewTerms,
    RiskLabel,
};

use super::Workload;
use crate::model::{Model, Payment};

impl Workload {
    /// What a judge may find: only payments have an assessment.
    pub(super) fn assessment(&mut self, body: &Body) -> Option<Box<Assessment>> {
        let is_payment = matches!(body, Body::Pay(_) | Body::Run(_));
        if !is_payment || !self.rng.chance(25) {
            return None;
        }
        let effect = match self.rng.below(8) {
            0..=1 => Effect::Block,
            2..=4 => Effect::Review(ReviewTerms {
                kind: ReviewKind::ALL[self.rng.index(ReviewKind::ALL.len())],
                seconds: match self.rng.below(10) {
                    0 => u32::MAX,
                    _ => 1 + self.rng.below(40) as u32,
                },
            }),
            _ => Effect::Allow,
        };
        let report = vec![b'r'; 1 + self.rng.index(300)];
        Assessment::new(effect, &report).map(Box::new)
    }

    pub(super) fn approve(&mut self, model: &Model) -> Approve {
        Approve {
            payment: self.payment(model, is_in_review),
            by_payer: self.rng.chance(40),
        }
    }

    pub(super) fn investigate(&mut self, model: &Model) -> Investigate {
        let any = self.rng.chance(40);
        Investigate {
            payment: self.payment(model, |payment| any || is_in_review(payment)),
            investigating: self.rng.chance(40).then(|| self.rng.chance(70)),
            assignee: self.rng.chance(40).then(|| {
                let name = format!("team-{}", self.rng.below(3));
                let is_given = self.rng.chance(70);
                is_given.then(|| Label::new(&name).expect("it is short"))
            }),
            label: self
                .rng
                .chance(40)
                .then(|| RiskLabel::ALL[self.rng.index(RiskLabel::ALL.len())]),
        }
    }
}

fn is_in_review(payment: &Payment) -> bool {
    payment.status == PaymentStatus::InReview
}
