//! What fuzzers call, called over the corpus and over two thousand damaged inputs of each, the same in every run.
//!
//! The functions are those of `fuzz/src/lib.rs`, where it is said what must hold. A failure names seed and number.

use std::path::Path;

use synqx_testkit::mutate::Mutants;

#[expect(unreachable_pub, reason = "it is the library of the package of the fuzzers")]
#[path = "../../../../fuzz/src/lib.rs"]
mod entries;

const SEED: u64 = 0xf022;
const INPUTS: u64 = 2_000;

fn survives(target: &str) {
    let (_, call) = entries::ENTRIES
        .iter()
        .find(|(name, _)| *name == target)
        .expect("a target");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("a corpus")
        .map(|file| file.expect("a file").path())
        .collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files
        .iter()
        .map(|path| std::fs::read(path).expect("bytes"))
        .collect();
    corpus.iter().for_each(|bytes| call(bytes));
    let mut mutants = Mutants::new(&corpus, SEED);
    while mutants.number < INPUTS {
        let bytes = mutants.make();
        let outcome = std::panic::catch_unwind(|| call(&bytes));
        assert!(outcome.is_ok(), "{target}: seed {SEED}, input {}", mutants.number);
    }
}

#[test]
fn what_fuzzers_call_survives_csv() {
    survives("csv");
}

#[test]
fn what_fuzzers_call_survives_json() {
    survives("json");
}

#[test]
fn what_fuzzers_call_survives_documents() {
    survives("spec_yaml");
    survives("spec_json");
}

#[test]
fn what_fuzzers_call_survives_binary_copies() {
    survives("copy_binary");
}

/// The good inputs of a corpus are good: only then are damaged ones near enough to be worth trying.
#[test]
fn the_corpus_of_documents_and_copies_is_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let bytes = |name: &str| std::fs::read(folder.join(name)).expect("a file");
    assert_eq!(
        synqx_postgres::fuzz::decode_copy(&bytes("copy_binary/rows"), 64),
        Ok(3)
    );
    for name in ["spec_yaml/full", "spec_yaml/odd"] {
        let text = String::from_utf8(bytes(name)).expect("text");
        let spec = synqx_model::PipelineSpec::from_yaml(&text);
        assert!(spec.is_ok(), "{name}: {spec:?}");
    }
    let text = String::from_utf8(bytes("spec_json/small")).expect("text");
    assert!(synqx_model::PipelineSpec::from_json(&text).is_ok());
}
