//! Lines whose columns stand at fixed places, counted in characters.
//!
//! `layout` is where the columns are, `read` cuts lines, `write` fills them. A value that does not fit its place is
//! refused, never cut off. Records without line ends and packed decimals of mainframes are not here.

pub(crate) mod layout;
pub(crate) mod read;
pub(crate) mod write;
