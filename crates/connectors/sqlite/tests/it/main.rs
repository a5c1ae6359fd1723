//! The connector against real database files: types, names, modes, faults, locks, pushed conditions.
//!
//! Each module is one promise; `house` is the small world they share. No server, no network, no sleeps.

mod faults;
mod house;
mod modes;
mod reading;
mod types;
