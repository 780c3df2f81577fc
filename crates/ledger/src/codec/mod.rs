//! Records and objects as bytes.

use crate::{
    Account, AccountId, Actor, ApiKey, Command, Context, Currency, Date, Leg, Outcome, Owner,
    Payment, PaymentId, PaymentKind, Rejection,
};

/// The bytes are no record or object of this format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a record of this format: {0}")]
pub struct Corrupt(pub &'static str);

/// A record read back in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Position and time.
    pub ctx: Context,
    /// Digest of the command when it was taken in.
    pub digest: [u8; 16],
    /// What was wanted.
    pub command: Command,
    /// What became of it.
    pub outcome: Outcome,
}

/// What a command was, as a record's first byte says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Operation {
    /// Open an account.
    OpenAccount = 1,
    /// Freeze an account.
    FreezeAccount = 2,
    /// Unfreeze an account.
    UnfreezeAccount = 3,
    /// Close an account.
    CloseAccount = 4,
    /// Move or hold money.
    Pay = 5,
    /// Take what was held.
    Capture = 6,
    /// Release what is held.
    Void = 7,
    /// Release what is held because its time has come.
    Expire = 8,
    /// Give back.
    Refund = 9,
    /// Create an API key.
    CreateApiKey = 10,
    /// Give an API key another secret.
    RotateApiKey = 11,
    /// End an API key.
    RevokeApiKey = 12,
}

/// A record's bytes, checked in their structure, read in place without allocation.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    bytes: &'a [u8],
}

impl<'a> RecordRef<'a> {
    /// Checks the structure.
    pub fn parse(bytes: &'a [u8], format_version: u16) -> Result<Self, Corrupt> {
        let _ = format_version;
        Ok(RecordRef { bytes })
    }

    /// Position and time.
    pub fn context(&self) -> Context {
        let _ = self.bytes;
        unimplemented!()
    }

    /// What the command was.
    pub fn operation(&self) -> Operation {
        unimplemented!()
    }

    /// Why it was refused.
    pub fn rejection(&self) -> Option<Rejection> {
        unimplemented!()
    }

    /// Who asked.
    pub fn actor(&self) -> Actor {
        unimplemented!()
    }

    /// Idempotency key.
    pub fn key(&self) -> &'a [u8] {
        unimplemented!()
    }

    /// Digest of the command.
    pub fn digest(&self) -> [u8; 16] {
        unimplemented!()
    }

    /// All or nothing with the next record.
    pub fn linked(&self) -> bool {
        unimplemented!()
    }

    /// Date of the business: as given, or of the record.
    pub fn effective_at(&self) -> Date {
        unimplemented!()
    }

    /// Free text: scheme and bytes.
    pub fn text(&self) -> Option<(u8, &'a [u8])> {
        unimplemented!()
    }

    /// The payment it created (a failed one too), or would change.
    pub fn payment(&self) -> Option<PaymentId> {
        unimplemented!()
    }

    /// Which machine's legs, of a `Pay`.
    pub fn payment_kind(&self) -> Option<PaymentKind> {
        unimplemented!()
    }

    /// Amount and currency, of a `Pay`.
    pub fn amount(&self) -> Option<(u64, Currency)> {
        unimplemented!()
    }

    /// Its legs.
    pub fn legs(&self) -> impl ExactSizeIterator<Item = Leg> + 'a {
        std::iter::empty()
    }

    /// The leg of an account.
    pub fn leg_of(&self, account: AccountId) -> Option<Leg> {
        self.legs().find(|leg| leg.account == account)
    }

    /// Everything.
    pub fn to_record(&self) -> Result<Record, Corrupt> {
        unimplemented!()
    }
}

/// Appends the record of a command and its outcome. `digest` is the command's, taken when it came in.
pub fn encode(
    command: &Command,
    digest: &[u8; 16],
    outcome: &Outcome,
    ctx: Context,
    into: &mut Vec<u8>,
) {
    let _ = (command, digest, outcome, ctx, into);
    unimplemented!()
}

/// Reads a record back in full.
pub fn decode(bytes: &[u8], format_version: u16) -> Result<Record, Corrupt> {
    RecordRef::parse(bytes, format_version)?.to_record()
}

/// Appends an account.
pub fn encode_account(account: &Account, into: &mut Vec<u8>) {
    let _ = (account, into);
    unimplemented!()
}

/// Reads an account.
pub fn decode_account(bytes: &[u8], format_version: u16) -> Result<Account, Corrupt> {
    let _ = (bytes, format_version);
    unimplemented!()
}

/// Appends an owner.
pub fn encode_owner(owner: &Owner, into: &mut Vec<u8>) {
    let _ = (owner, into);
    unimplemented!()
}

/// Reads an owner.
pub fn decode_owner(bytes: &[u8], format_version: u16) -> Result<Owner, Corrupt> {
    let _ = (bytes, format_version);
    unimplemented!()
}

/// Appends a payment.
pub fn encode_payment(payment: &Payment, into: &mut Vec<u8>) {
    let _ = (payment, into);
    unimplemented!()
}

/// Reads a payment.
pub fn decode_payment(bytes: &[u8], format_version: u16) -> Result<Payment, Corrupt> {
    let _ = (bytes, format_version);
    unimplemented!()
}

/// Appends an API key.
pub fn encode_api_key(key: &ApiKey, into: &mut Vec<u8>) {
    let _ = (key, into);
    unimplemented!()
}

/// Reads an API key.
pub fn decode_api_key(bytes: &[u8], format_version: u16) -> Result<ApiKey, Corrupt> {
    let _ = (bytes, format_version);
    unimplemented!()
}
