//! Owners that are created, updates, and details as bytes; the layout is at the head of `codec` and of `objects`.

use super::bytes::{Corrupt, Input, Put, len_u8, word};
use super::objects::{owner_name, put_text_state, take_text_state};
use crate::{
    AccountId, CreateOwner, Details, ExternalId, ObjectId, OwnerId, OwnerKind, OwnerProfile,
    OwnerStatus, PaymentId, ProfileChange, Update, Updated,
};

/// Length of the fixed part of a `CreateOwner`.
pub(super) const CREATE_OWNER_FIXED: usize = 4;
/// Length of the fixed part of an `Update`, which ends with the id.
pub(super) const UPDATE_FIXED: usize = 13;

const ACCOUNT: u8 = 1;
const PAYMENT: u8 = 2;
const OWNER: u8 = 3;

const DESCRIPTION: u8 = 1;
const METADATA: u8 = 2;
const EXTERNAL_ID: u8 = 4;

pub(super) fn object_id(tag: u8, id: u64) -> Result<ObjectId, Corrupt> {
    match tag {
        ACCOUNT => Ok(ObjectId::Account(AccountId(id))),
        PAYMENT => Ok(ObjectId::Payment(PaymentId(id))),
        OWNER => Ok(ObjectId::Owner(OwnerId(id))),
        _ => Err(Corrupt("unknown kind of object")),
    }
}

fn tag(object: ObjectId) -> u8 {
    match object {
        ObjectId::Account(_) => ACCOUNT,
        ObjectId::Payment(_) => PAYMENT,
        ObjectId::Owner(_) => OWNER,
    }
}

fn external_bytes(external_id: Option<&ExternalId>) -> &[u8] {
    external_id.map_or(&[], ExternalId::as_bytes)
}

/// Reads an optional kind; 0 = none.
fn take_kind(input: &mut Input<'_>) -> Result<Option<OwnerKind>, Corrupt> {
    match input.u8()? {
        0 => Ok(None),
        number => OwnerKind::from_number(number)
            .map(Some)
            .ok_or(Corrupt("unknown kind of owner")),
    }
}

fn take_status(number: u8) -> Result<OwnerStatus, Corrupt> {
    OwnerStatus::from_number(number).ok_or(Corrupt("unknown status of an owner"))
}

pub(super) fn put_create_owner(create: &CreateOwner, into: &mut Vec<u8>) {
    let external = external_bytes(create.profile.external_id.as_ref());
    into.u8(create.profile.kind.map_or(0, |kind| kind as u8));
    into.u8(create.profile.status as u8);
    into.u8(len_u8(create.name.as_bytes()));
    into.u8(len_u8(external));
    into.put(create.name.as_bytes());
    into.put(external);
}

pub(super) fn take_create_owner(input: &mut Input<'_>) -> Result<CreateOwner, Corrupt> {
    let kind = take_kind(input)?;
    let status = take_status(input.u8()?)?;
    let (name_len, external_len) = (input.u8()?, input.u8()?);
    let name = owner_name(input.take(name_len.into())?)?;
    let external_id = word(input.take(external_len.into())?, ExternalId::from_bytes)?;
    let profile = OwnerProfile {
        kind,
        status,
        external_id,
    };
    Ok(CreateOwner { name, profile })
}

pub(super) fn put_update(update: &Update, into: &mut Vec<u8>) {
    let none = ProfileChange::default();
    let change = match &update.object {
        Updated::Owner(_, change) => change,
        Updated::Account(_) | Updated::Payment(_) => &none,
    };
    let external = external_bytes(change.external_id.as_ref().and_then(Option::as_ref));
    let flag = |given: bool, flag: u8| if given { flag } else { 0 };
    into.u8(tag(update.object.object()));
    into.u8(flag(update.description, DESCRIPTION)
        | flag(update.metadata, METADATA)
        | flag(change.external_id.is_some(), EXTERNAL_ID));
    into.u8(change.kind.map_or(0, |kind| kind as u8));
    into.u8(change.status.map_or(0, |status| status as u8));
    into.u8(len_u8(external));
    into.u64(update.object.object().number());
    into.put(external);
}

pub(super) fn take_update(input: &mut Input<'_>) -> Result<Update, Corrupt> {
    let (tag, given) = (input.u8()?, input.u8()?);
    if given & !(DESCRIPTION | METADATA | EXTERNAL_ID) != 0 {
        return Err(Corrupt("unknown flags"));
    }
    let kind = take_kind(input)?;
    let status = match input.u8()? {
        0 => None,
        number => Some(take_status(number)?),
    };
    let external_len = input.u8()?;
    let object = object_id(tag, input.u64()?)?;
    let external_id = word(input.take(external_len.into())?, ExternalId::from_bytes)?;
    if given & EXTERNAL_ID == 0 && external_id.is_some() {
        return Err(Corrupt("an external id that is not flagged"));
    }
    let change = ProfileChange {
        kind,
        status,
        external_id: (given & EXTERNAL_ID != 0).then_some(external_id),
    };
    let object = match object {
        ObjectId::Owner(id) => Updated::Owner(id, change),
        _ if !change.is_empty() => return Err(Corrupt("only an owner has a profile")),
        ObjectId::Account(id) => Updated::Account(id),
        ObjectId::Payment(id) => Updated::Payment(id),
    };
    Ok(Update {
        object,
        description: given & DESCRIPTION != 0,
        metadata: given & METADATA != 0,
    })
}

pub(super) fn put_details(details: &Details, into: &mut Vec<u8>) {
    into.u8(tag(details.object));
    into.u64(details.object.number());
    put_text_state(&details.text, into);
    into.u8(u8::from(details.profile.is_some()));
    if let Some(profile) = &details.profile {
        let external = external_bytes(profile.external_id.as_ref());
        into.u8(profile.kind.map_or(0, |kind| kind as u8));
        into.u8(profile.status as u8);
        into.u8(len_u8(external));
        into.put(external);
    }
}

pub(super) fn take_details(input: &mut Input<'_>) -> Result<Details, Corrupt> {
    let tag = input.u8()?;
    let object = object_id(tag, input.u64()?)?;
    let text = take_text_state(input)?;
    let profile = if input.flag()? {
        let kind = take_kind(input)?;
        let status = take_status(input.u8()?)?;
        let external_len = input.u8()?;
        let external_id = word(input.take(external_len.into())?, ExternalId::from_bytes)?;
        Some(Box::new(OwnerProfile {
            kind,
            status,
            external_id,
        }))
    } else {
        None
    };
    let fits = match object {
        ObjectId::Account(_) => profile.is_none(),
        ObjectId::Owner(_) => profile.is_some(),
        ObjectId::Payment(_) => false,
    };
    if !fits {
        return Err(Corrupt("details of another kind of object"));
    }
    Ok(Details {
        object,
        text,
        profile,
    })
}

pub(super) fn put_optional_details(details: Option<&Details>, into: &mut Vec<u8>) {
    into.u8(u8::from(details.is_some()));
    if let Some(details) = details {
        put_details(details, into);
    }
}

pub(super) fn take_optional_details(input: &mut Input<'_>) -> Result<Option<Details>, Corrupt> {
    if input.flag()? {
        take_details(input).map(Some)
    } else {
        Ok(None)
    }
}
