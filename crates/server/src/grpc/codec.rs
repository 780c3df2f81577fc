//! How messages become bytes: as they are for batches, by their generated types for the rest.

use std::marker::PhantomData;

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tributary_api::code::ErrorCode;
use tributary_api::error::ApiError;

use crate::grpc::status::status_of;

/// Hands messages on as bytes.
#[derive(Clone, Copy)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let all = from.remaining();
        Ok(Some(from.copy_to_bytes(all)))
    }
}

/// Reads `T`s and writes `U`s.
pub(crate) struct Messages<T, U>(PhantomData<fn(T) -> U>);

impl<T, U> Messages<T, U> {
    pub(crate) fn new() -> Messages<T, U> {
        Messages(PhantomData)
    }
}

impl<T, U> Codec for Messages<T, U>
where
    T: Message + Default + Send + 'static,
    U: Message + Send + 'static,
{
    type Encode = U;
    type Decode = T;
    type Encoder = Messages<T, U>;
    type Decoder = Messages<T, U>;

    fn encoder(&mut self) -> Messages<T, U> {
        Messages::new()
    }

    fn decoder(&mut self) -> Messages<T, U> {
        Messages::new()
    }
}

impl<T, U: Message> Encoder for Messages<T, U> {
    type Item = U;
    type Error = Status;

    fn encode(&mut self, message: U, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.encode(into).expect("the buffer grows");
        Ok(())
    }
}

impl<T: Message + Default, U> Decoder for Messages<T, U> {
    type Item = T;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<T>, Status> {
        T::decode(from).map(Some).map_err(|_| {
            let message = "The message is not one of this method.";
            status_of(&ApiError::new(ErrorCode::ParameterInvalid, message))
        })
    }
}
