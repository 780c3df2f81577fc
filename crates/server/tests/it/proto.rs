//! The protocol definition, and what is made of it.

use std::path::{Path, PathBuf};

use prost_build::Config;

const FILES: [&str; 2] = [
    "tributary/v1/ledger.proto",
    "tributary/v1/subscriptions.proto",
];

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The messages in Rust and the descriptors for reflection, as the definition says them now.
fn made() -> (String, Vec<u8>) {
    let files = protox::compile(FILES, [here("../../proto")]).expect("the definition is right");
    let descriptors = prost_build_bytes(&files);
    let folder = tempfile::tempdir().expect("a directory");
    Config::new()
        .out_dir(folder.path())
        .btree_map(["."])
        .compile_fds(files)
        .expect("it can be written in Rust");
    let code = std::fs::read_to_string(folder.path().join("tributary.v1.rs")).expect("it is there");
    (code, descriptors)
}

fn prost_build_bytes(files: &impl prost::Message) -> Vec<u8> {
    files.encode_to_vec()
}

/// `UPDATE=1 cargo test -p tributary-server` writes both anew.
#[test]
fn the_checked_in_messages_are_those_of_the_definition() {
    let (code, descriptors) = made();
    let at = [
        here("src/grpc/messages.rs"),
        here("src/grpc/descriptors.bin"),
    ];
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&at[0], &code).expect("it can be written");
        std::fs::write(&at[1], &descriptors).expect("it can be written");
    }
    let stored = at.map(|path| std::fs::read(path).expect("it is there"));
    assert!(
        stored[0] == code.as_bytes() && stored[1] == descriptors,
        "src/grpc/messages.rs or descriptors.bin is not what proto/ says: run the tests with UPDATE=1"
    );
}
