//! The target `copy_binary` of cargo-fuzz: what is called and what must hold is in `src/lib.rs`.
//!
//! Run it with `cargo +nightly fuzz run copy_binary` in the root of the repository.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| synqx_fuzz::copy_binary(bytes));
