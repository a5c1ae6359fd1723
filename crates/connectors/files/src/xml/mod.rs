//! XML documents whose repeated elements are rows: attributes and elements below them are columns.
//!
//! `feed` hands text to the parser and counts lines and bytes, `record` collects one row, `read` describes and reads.
//! A document type is refused, so there are no entities to expand; namespaces prefixes are left out of names. Writing
//! XML is not here.

mod feed;
pub(crate) mod read;
mod record;
