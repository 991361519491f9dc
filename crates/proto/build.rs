//! Generates `v1` from the .proto files. Needs `protoc` (Debian: protobuf-compiler).

use std::io;

fn main() -> io::Result<()> {
    let files = [
        "cluster", "command", "console", "event", "host", "query", "refusal", "vm",
    ]
    .map(|noun| format!("proto/chronovisor/v1/{noun}.proto"));
    for file in &files {
        println!("cargo::rerun-if-changed={file}");
    }
    // Ordered maps, so that equal messages have equal bytes.
    prost_build::Config::new()
        .btree_map(["."])
        .compile_protos(&files, &["proto"])
}
