//! Callers: the API key in `Authorization: Bearer tk_…`, and what the key may do.

use tributary_engine::{Ids, Reader};
use tributary_ledger::codec::Record;
use tributary_ledger::{
    Access, Account, AccountId, Actor, ApiKeyId, ApiKeyStatus, Body, ObjectId, OwnerId, Payment,
};

use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::failures::read_error;
use crate::token::{self, Secret};

/// A caller who has proved to hold an API key.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// In whose name the key acts, and the key.
    pub actor: Actor,
    access: Access,
}

impl Caller {
    /// The system itself, in the platform's name.
    pub fn system() -> Caller {
        Caller {
            actor: Actor::SYSTEM,
            access: Access::Write,
        }
    }

    /// Whether the key is the platform's: it sees and does everything.
    pub fn is_platform(&self) -> bool {
        self.actor.owner == OwnerId::PLATFORM
    }

    /// The owner that lists are restricted to; none for the platform.
    pub fn listed_owner(&self) -> Option<OwnerId> {
        (!self.is_platform()).then_some(self.actor.owner)
    }

    /// Whether the account is this caller's to see.
    pub fn sees_account(&self, account: &Account) -> bool {
        self.is_platform() || account.owner == self.actor.owner
    }

    /// Whether the record is this caller's to see, as a subscription of it would: the caller's owner asked for it, or it is about
    /// a payment, an account or money of that owner.
    pub fn sees_record(&self, reader: &Reader, record: &Record) -> bool {
        let outcome = &record.outcome;
        let asked_payment = outcome.payment.as_ref().filter(|payment| {
            payment.reached_payees && matches!(record.command.body, Body::Pay(_))
        });
        let opened = outcome
            .account
            .as_ref()
            .filter(|_| matches!(record.command.body, Body::OpenAccount(_)));
        self.is_platform()
            || record.command.actor.owner == self.actor.owner
            || asked_payment.is_some_and(|payment| payment.owner == self.actor.owner)
            || opened.is_some_and(|account| account.owner == self.actor.owner)
            || outcome
                .setting
                .as_ref()
                .is_some_and(|setting| setting.owner == self.actor.owner)
            || outcome.legs.iter().any(|leg| {
                let account = reader.account(leg.account);
                account.is_some_and(|account| account.owner == self.actor.owner)
            })
            || self.sees_details(reader, record)
    }

    /// Whether the record created or updated an object of this caller's: such a record has no legs.
    fn sees_details(&self, reader: &Reader, record: &Record) -> bool {
        let own = |account: AccountId| reader.account_owner(account) == Some(self.actor.owner);
        let outcome = &record.outcome;
        let updates = matches!(record.command.body, Body::Update(_));
        let payment = outcome.payment.as_ref().filter(|_| updates);
        let object = outcome.details.as_ref().map(|details| details.object);
        payment.is_some_and(|payment| self.is_viewer(reader, payment))
            || match object {
                Some(ObjectId::Account(account)) => own(account),
                Some(ObjectId::Owner(owner)) => owner == self.actor.owner,
                Some(ObjectId::Payment(_)) | None => false,
            }
    }

    /// Whether the payment that `asked` requested is this caller's to see: at its request, or because it reached this owner when it
    /// ran.
    ///
    /// # Errors
    /// If the journal can't be read.
    pub fn sees_payment(&self, reader: &Reader, asked: &Record) -> Result<bool, ApiError> {
        if self.sees_record(reader, asked) {
            return Ok(true);
        }
        let requested = asked.outcome.payment.as_ref();
        let Some(queued) = requested.filter(|payment| payment.queue.is_some()) else {
            return Ok(false);
        };
        let owner = |id| reader.account_owner(id) == Some(self.actor.owner);
        if !queued.shares.iter().any(|share| owner(share.account)) {
            return Ok(false);
        }
        let now = reader.payment(queued.id).map_err(read_error)?;
        Ok(now.is_some_and(|now| self.is_viewer(reader, &now)))
    }

    fn is_viewer(&self, reader: &Reader, payment: &Payment) -> bool {
        let mut found = self.is_platform();
        payment.viewers(
            |id| reader.account_owner(id),
            |owner| found |= owner == self.actor.owner,
        );
        found
    }

    /// Refuses keys that may only read.
    pub fn may_write(self) -> Result<Caller, ApiError> {
        match self.access {
            Access::Write => Ok(self),
            Access::Read => Err(ApiError::new(
                ErrorCode::ReadOnlyKey,
                "This API key may only read.",
            )),
        }
    }

    /// Refuses keys that are not the platform's.
    pub fn must_be_platform(self) -> Result<Caller, ApiError> {
        if self.is_platform() {
            return Ok(self);
        }
        Err(ApiError::new(
            ErrorCode::PlatformOnly,
            "Only a platform key may do this.",
        ))
    }
}

/// Error of a request without an API key.
pub fn api_key_missing() -> ApiError {
    ApiError::new(
        ErrorCode::ApiKeyMissing,
        "Send your API key as Authorization: Bearer tk_….",
    )
}

/// Returns the caller who sent `authorization`, the value of the header of that name; none if the value is not ASCII. `internal`
/// is the secret of the internal key, where there is one; `now` is ledger time, nanoseconds since the Unix epoch.
pub fn authenticate(
    reader: &Reader,
    internal: Option<&Secret>,
    authorization: Option<&str>,
    now: impl FnOnce() -> u64,
) -> Result<Caller, ApiError> {
    // Every wrong key gets the same answer.
    let wrong = || ApiError::new(ErrorCode::ApiKeyInvalid, "This is not a valid API key.");
    let (scheme, token) = authorization
        .and_then(|text| text.split_once(' '))
        .ok_or_else(wrong)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(wrong());
    }
    let token = token.trim_matches(' ');
    let ids = reader.ids();
    let (id, secret) = token::parse(ids, token).ok_or_else(wrong)?;
    if id == INTERNAL_KEY {
        let expected = internal.ok_or_else(wrong)?;
        if !secret.matches(&expected.hash()) {
            return Err(wrong());
        }
        return Ok(Caller::system());
    }
    let key = reader.api_key(id).ok_or_else(wrong)?;
    let previous = || {
        key.previous
            .as_deref()
            .is_some_and(|old| secret.matches(&old.secret_hash) && now() < old.valid_until)
    };
    let is_proved = secret.matches(&key.secret_hash) || previous();
    if !is_proved || key.status != ApiKeyStatus::Active {
        return Err(wrong());
    }
    Ok(Caller {
        actor: Actor {
            owner: key.owner,
            api_key: key.id,
        },
        access: key.access,
    })
}

/// Returns the caller that holds the API key `id`: for what acts as a key without holding it, such as a binding. Its setting was made by
/// the platform.
///
/// # Errors
/// If there is no such key, or it is revoked or may only read.
pub fn acting_as(reader: &Reader, id: ApiKeyId) -> Result<Caller, ApiError> {
    let key = reader.api_key(id);
    let key = key.filter(|key| key.status == ApiKeyStatus::Active);
    let key = key.ok_or_else(|| {
        ApiError::new(
            ErrorCode::ApiKeyInvalid,
            "The API key is revoked or not there.",
        )
    })?;
    let caller = Caller {
        actor: Actor {
            owner: key.owner,
            api_key: key.id,
        },
        access: key.access,
    };
    caller.may_write()
}

/// Number of the internal key: no record ever has it.
const INTERNAL_KEY: ApiKeyId = ApiKeyId(u64::MAX);

/// Returns the token for `internal`: its holder acts as the system itself, in the platform's name.
pub fn internal_token(ids: &Ids, internal: &Secret) -> String {
    internal.token(ids, INTERNAL_KEY)
}
