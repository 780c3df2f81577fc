//! The page of every error code, as it stands in `docs/errors/`: served, so that `doc_url` works wherever the server runs.

macro_rules! pages {
    ($($code:literal)*) => {
        /// Every code with its page, in Markdown: the server's own, then the ledger's rejections.
        pub const PAGES: &[(&str, &str)] = &[
            $(($code, include_str!(concat!("../../../docs/errors/", $code, ".md"))),)*
        ];
    };
}

pages! {
    "json_malformed"
    "parameter_missing"
    "parameter_unknown"
    "parameter_invalid"
    "api_version_unknown"
    "idempotency_key_missing"
    "idempotency_key_invalid"
    "header_missing"
    "header_repeated"
    "transfer_encoding_unsupported"
    "api_key_missing"
    "api_key_invalid"
    "read_only_key"
    "platform_only"
    "sandbox_only"
    "route_not_found"
    "resource_not_found"
    "method_not_allowed"
    "request_timeout"
    "body_too_large"
    "content_type_unsupported"
    "content_encoding_unsupported"
    "idempotency_key_reused"
    "too_many_records"
    "subscription_limit"
    "rate_limited"
    "overloaded"
    "queue_full"
    "too_many_streams"
    "head_too_large"
    "internal_error"
    "record_damaged"
    "storage_full"
    "too_many_connections"
    "stopping"
    "unavailable"
    "messaging_unavailable"
    "queue_draining"
    "outcome_unknown"
    "actor_key_not_found"
    "actor_key_revoked"
    "actor_key_mismatch"
    "actor_key_read_only"
    "amount_zero"
    "amount_too_large"
    "overdraft_too_large"
    "payee_missing"
    "too_many_shares"
    "duplicate_account"
    "reason_required"
    "hold_not_allowed"
    "hold_already_due"
    "fees_exceed_amount"
    "split_mismatch"
    "queue_expired"
    "setting_kind_unknown"
    "setting_too_large"
    "time_out_of_range"
    "account_not_found"
    "payment_not_found"
    "api_key_not_found"
    "setting_not_found"
    "owner_not_found"
    "forbidden"
    "currency_mismatch"
    "account_closed"
    "account_frozen"
    "account_not_frozen"
    "account_not_empty"
    "reference_in_use"
    "external_id_in_use"
    "owner_exists"
    "owner_external_id_in_use"
    "owner_inactive"
    "payment_not_open"
    "hold_expired"
    "hold_not_due"
    "capture_exceeds_hold"
    "payment_not_refundable"
    "payment_already_refunded"
    "refund_exceeds_captured"
    "payment_not_queued"
    "payment_not_due"
    "queue_paused"
    "api_key_already_revoked"
    "setting_conflict"
    "slug_in_use"
    "setting_id_in_use"
    "too_many_settings"
    "settings_full"
    "payment_is_payout"
    "payment_not_payout"
    "payout_not_pending"
    "payout_not_paid"
    "return_exceeds_paid"
    "insufficient_funds"
    "balance_overflow"
    "group_aborted"
}

/// The list of all codes, in Markdown.
pub const INDEX: &str = include_str!("../../../docs/errors/README.md");

/// The page of `code`, in Markdown.
pub fn find(code: &str) -> Option<&'static str> {
    PAGES
        .iter()
        .find(|(known, _)| *known == code)
        .map(|(_, page)| *page)
}
