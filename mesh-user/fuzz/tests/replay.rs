//! Everything that a search ever found worth keeping holds today.

use std::{fs, path::Path};

#[test]
fn every_corpus_holds() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in mesh_fuzz::TARGETS {
        let entries = fs::read_dir(corpora.join(name)).unwrap_or_else(|error| panic!("corpus of {name}: {error}"));
        let mut count = 0;
        for entry in entries {
            let path = entry.unwrap().path();
            // Printed only where the target then panics.
            println!("{}", path.display());
            target(&fs::read(&path).unwrap());
            count += 1;
        }
        assert!(count >= 10, "{name}: a corpus of {count} shows little");
    }
}

#[test]
fn every_corpus_has_a_target_and_a_program() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = |of: &str| {
        let mut names: Vec<_> = fs::read_dir(folder.join(of))
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    let mut targets: Vec<_> = mesh_fuzz::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    targets.sort();
    assert_eq!(names("corpus"), targets);
    assert_eq!(names("fuzz_targets"), targets);
}
