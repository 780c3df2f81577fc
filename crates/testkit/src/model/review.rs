//! Payments in review, and what people find out about payments.

use tributary_ledger::{
    Approve, Command, Effect, Investigate, PaymentKind, PaymentStatus, Rejection, ReviewKind,
    ReviewStage, RiskLabel,
};

use super::{Model, PLATFORM, Payment};

/// The review of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// Whether the payer is asked.
    pub is_challenge: bool,
    /// Where it stands.
    pub stage: ReviewStage,
    /// Expiry of the hold that was asked for, nanoseconds since the Unix epoch; none = the money was to move at once.
    pub asked_expiry: Option<u64>,
    /// Who looks into it.
    pub assignee: Option<String>,
}

/// What is known of a payment by its review and afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Risk {
    /// Its review, if there was one.
    pub review: Option<Review>,
    /// What it was.
    pub label: Option<RiskLabel>,
}

/// Returns whether the rules hold the payment: whether the payer is asked, and for how many seconds.
pub(super) fn held_by_rules(command: &Command) -> Option<(bool, u64)> {
    match command.assessment.as_deref()?.effect() {
        Effect::Review(terms) => Some((
            terms.kind == ReviewKind::Challenge,
            u64::from(terms.seconds),
        )),
        Effect::Allow | Effect::Block => None,
    }
}

/// Begins the review of a payment whose amount is held from now on.
pub(super) fn begin(payment: &mut Payment, (is_challenge, seconds): (bool, u64), now: u64) {
    let asked = Some(payment.expires_at).filter(|at| *at > 0);
    let end = now.saturating_add(seconds * 1_000_000_000);
    payment.status = PaymentStatus::InReview;
    payment.expires_at = asked.unwrap_or(u64::MAX).min(end);
    payment.risk.review = Some(Review {
        is_challenge,
        stage: ReviewStage::Open,
        asked_expiry: asked,
        assignee: None,
    });
}

impl Model {
    pub(super) fn reasons_against_approval(
        &self,
        approve: &Approve,
        actor: u64,
        now: u64,
    ) -> Vec<(bool, Rejection)> {
        let Some(payment) = self.state.payments.get(&approve.payment.0) else {
            return vec![(true, Rejection::PaymentNotFound)];
        };
        let review = payment.risk.review.as_ref();
        let is_challenge = review.is_some_and(|review| review.is_challenge);
        let own = approve.by_payer && is_challenge && payment.actor.owner.0 == actor;
        let waits =
            payment.status == PaymentStatus::InReview && (is_challenge || !approve.by_payer);
        let mut reasons = vec![
            (actor != PLATFORM && !own, Rejection::Forbidden),
            (!waits, Rejection::PaymentNotInReview),
        ];
        reasons.push((waits && now >= payment.expires_at, Rejection::HoldExpired));
        let moves = waits && review.is_some_and(|review| review.asked_expiry.is_none());
        let too_much = |part: &super::Part| {
            let found = self.state.accounts.get(&part.account);
            found.is_some_and(|found| found.posted + part.amount > 9_007_199_254_740_991)
        };
        let overflows = moves && payment.parts.iter().any(too_much);
        reasons.push((overflows, Rejection::BalanceOverflow));
        reasons
    }

    pub(super) fn approve(&mut self, approve: &Approve, position: u64) -> Vec<(u64, i128)> {
        let payment = self.payment(approve.payment.0);
        payment.changed_at = position;
        let review = payment.risk.review.as_mut().expect("it is in review");
        review.stage = match approve.by_payer {
            true => ReviewStage::Confirmed,
            false => ReviewStage::Approved,
        };
        let (source, amount) = (payment.source, payment.amount);
        let mut touched = vec![(source, 0)];
        if let Some(expiry) = review.asked_expiry {
            payment.expires_at = expiry;
            payment.status = held_status(payment.kind);
            touched.extend(payment.parts.iter().map(|part| (part.account, 0)));
            return touched;
        }
        payment.expires_at = 0;
        payment.status = moved_status(payment.kind);
        payment.held = 0;
        payment.captured = amount;
        touched[0].1 = -amount;
        for part in &mut payment.parts {
            part.captured = part.amount;
            touched.push((part.account, part.amount));
        }
        self.account(source).held -= amount;
        touched
    }

    pub(super) fn reasons_against_finding(
        &self,
        found: &Investigate,
        actor: u64,
    ) -> Vec<(bool, Rejection)> {
        let Some(payment) = self.state.payments.get(&found.payment.0) else {
            return vec![(true, Rejection::PaymentNotFound)];
        };
        let open = payment.status == PaymentStatus::InReview;
        let of_review = found.investigating.is_some() || found.assignee.is_some();
        let only_note = !of_review && found.label.is_none();
        let is_case = payment.risk.review.is_some() || payment.risk.label.is_some();
        let missing = of_review && !open || only_note && !is_case;
        vec![
            (actor != PLATFORM, Rejection::Forbidden),
            (missing, Rejection::PaymentNotInReview),
        ]
    }

    pub(super) fn investigate(&mut self, found: &Investigate, position: u64) {
        let payment = self.payment(found.payment.0);
        payment.changed_at = position;
        payment.risk.label = found.label.or(payment.risk.label);
        let Some(review) = &mut payment.risk.review else {
            return;
        };
        if let Some(begun) = found.investigating {
            review.stage = match begun {
                true => ReviewStage::Investigating,
                false => ReviewStage::Open,
            };
        }
        if let Some(assignee) = &found.assignee {
            let name = assignee.as_ref().map(|name| name.as_str().to_owned());
            review.assignee = name;
        }
    }
}

/// Ends the review of a payment that is released, if it is in review.
pub(super) fn end(payment: &mut Payment, status: PaymentStatus, actor: u64) {
    let review = payment.risk.review.as_mut();
    if let (PaymentStatus::InReview, Some(review)) = (payment.status, review) {
        review.stage = match status {
            PaymentStatus::Expired => ReviewStage::Expired,
            _ if actor == PLATFORM => ReviewStage::Declined,
            _ => ReviewStage::Cancelled,
        };
    }
}

/// Returns the status of a payment whose whole amount is held.
pub(super) fn held_status(kind: PaymentKind) -> PaymentStatus {
    match kind == PaymentKind::Payout {
        true => PaymentStatus::Pending,
        false => PaymentStatus::Authorized,
    }
}

/// Returns the status of a payment whose whole amount has moved.
pub(super) fn moved_status(kind: PaymentKind) -> PaymentStatus {
    match kind == PaymentKind::Payout {
        true => PaymentStatus::Paid,
        false => PaymentStatus::Captured,
    }
}
