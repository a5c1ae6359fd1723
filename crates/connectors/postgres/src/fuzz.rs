//! The way in for fuzzers: bytes that claim to be a binary COPY, decoded as every kind of column there is a builder for.
//!
//! Not part of what the connector offers. Whatever the bytes are, the answer is rows or an error with a code.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use synqx_model::Result;

use crate::decode::Decoder;
use crate::mapping::Kind;

/// Decodes bytes that arrive in chunks of this size; how many rows there are. Errors: `E0208`, `E0210`.
pub fn decode_copy(bytes: &[u8], chunk: usize) -> Result<usize> {
    let kinds = [
        Kind::Int4,
        Kind::Text,
        Kind::Bool,
        Kind::Float8,
        Kind::Numeric(None),
        Kind::Numeric(Some((10, 2))),
        Kind::Jsonb,
        Kind::Bytea,
        Kind::Date,
        Kind::Timestamp(6),
        Kind::Interval(true),
        Kind::Uuid,
        Kind::Array(Box::new(Kind::Int4), 23),
    ];
    let field = |(at, kind): (usize, &Kind)| Field::new(format!("c{at}"), kind.arrow(), true);
    let fields: Vec<Field> = kinds.iter().enumerate().map(field).collect();
    let schema = Arc::new(Schema::new(fields));
    let mut decoder = Decoder::new(schema, &kinds, 1 << 16, 1 << 20, "a fuzzer".to_owned());
    let mut rows = 0;
    for chunk in bytes.chunks(chunk.max(1)) {
        decoder.feed(chunk)?;
        if decoder.full() {
            rows += decoder.batch()?.map_or(0, |batch| batch.num_rows());
        }
    }
    Ok(rows + decoder.end()?.map_or(0, |batch| batch.num_rows()))
}
