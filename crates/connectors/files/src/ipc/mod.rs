//! Arrow IPC: files and streams are read, files are written.
//!
//! `messages` finds the messages of a file and holds their sizes against the budget before anything is allocated;
//! `read` decodes them, `write` makes files. A record batch is the smallest piece that can be read.

mod messages;
pub(crate) mod read;
pub(crate) mod write;
