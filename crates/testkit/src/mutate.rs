//! Damages bytes in ways that parsers do not expect: the same ways for the same seed, for as long as there is time.
//!
//! Give it a few small good inputs and a closure that parses; the closure asserts what must hold for any bytes: no
//! panic, no hang, an error with a code. A failing input is found again by its seed and number, which `Mutants` tells.
//! It does not look at coverage; that is the work of a fuzzer.

use std::time::{Duration, Instant};

/// Numbers that lengths and counts should not be.
const NUMBERS: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
];

/// Largest input that is made.
const LARGEST: usize = 1 << 20;

/// Damaged inputs, one after another.
#[derive(Debug)]
pub struct Mutants<'a> {
    corpus: &'a [Vec<u8>],
    state: u64,
    /// Inputs made so far.
    pub number: u64,
}

impl<'a> Mutants<'a> {
    /// From good inputs; there must be at least one.
    pub fn new(corpus: &'a [Vec<u8>], seed: u64) -> Self {
        Mutants {
            corpus,
            state: seed,
            number: 0,
        }
    }

    /// The next number of a fixed sequence (SplitMix64).
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.random() % (limit.max(1) as u64)) as usize
    }

    /// A damaged input.
    pub fn make(&mut self) -> Vec<u8> {
        self.number += 1;
        let pick = self.below(self.corpus.len());
        let mut bytes = self.corpus.get(pick).cloned().unwrap_or_default();
        for _ in 0..=self.below(4) {
            self.damage(&mut bytes);
        }
        bytes.truncate(LARGEST);
        bytes
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            bytes.push(self.random() as u8);
            return;
        }
        let at = self.below(bytes.len());
        let end = (at + 1 + self.below(32)).min(bytes.len());
        match self.below(8) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at] = self.random() as u8,
            2 => {
                let number = NUMBERS[self.below(NUMBERS.len())].to_le_bytes();
                let width = [1, 2, 4, 8][self.below(4)].min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&number[..width]);
            }
            3 => drop(bytes.drain(at..end)),
            4 => {
                let piece = bytes[at..end].to_vec();
                let times = 1 + self.below(64);
                let target = self.below(bytes.len());
                bytes.splice(target..target, piece.repeat(times));
            }
            5 => bytes.truncate(at),
            6 => {
                let other = self.below(self.corpus.len());
                let other = self.corpus.get(other).cloned().unwrap_or_default();
                let from = self.below(other.len().max(1)).min(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => bytes[at..end].reverse(),
        }
    }
}

/// Hands damaged inputs to `trial` until there were `most` or the time is over; at least one. The number of trials.
pub fn try_mutants(
    corpus: &[Vec<u8>],
    seed: u64,
    (most, time): (u64, Duration),
    mut trial: impl FnMut(u64, &[u8]),
) -> u64 {
    let begin = Instant::now();
    let mut mutants = Mutants::new(corpus, seed);
    loop {
        let bytes = mutants.make();
        trial(mutants.number, &bytes);
        if mutants.number >= most || begin.elapsed() >= time {
            return mutants.number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_inputs_and_most_are_damaged() {
        let corpus = vec![
            b"a small good input of some length".to_vec(),
            b"{\"another\": 1}".to_vec(),
        ];
        let make = |seed| {
            let mut mutants = Mutants::new(&corpus, seed);
            (0..200).map(|_| mutants.make()).collect::<Vec<_>>()
        };
        assert_eq!(make(7), make(7));
        assert_ne!(make(7), make(8));
        let damaged = make(7).iter().filter(|bytes| !corpus.contains(bytes)).count();
        assert!(damaged > 150, "{damaged}");
        let mut seen = 0;
        let trials = try_mutants(&corpus, 1, (50, Duration::from_secs(60)), |_, _| seen += 1);
        assert_eq!((trials, seen), (50, 50));
    }
}
